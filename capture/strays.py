"""An owner for the tasks that pyppeteer starts and forgets."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from runtime.logging import get_logger

log = get_logger(__name__)


class TaskLoop:
    """The part of an event loop that pyppeteer uses. Its stray tasks get an owner, their errors a place."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()

    def create_task(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def create_future(self) -> "asyncio.Future[Any]":
        return self._loop.create_future()

    def cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("browser_task_failed", error=type(task.exception()).__name__)
