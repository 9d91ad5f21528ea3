"""Waiting for a dependency to come back, without using up anybody's tries."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from capture import cancellation
from runtime.backoff import backoff_s
from runtime.errors import Failure, classify, reason_of
from runtime.logging import get_logger

T = TypeVar("T")

log = get_logger(__name__)


class LeavingError(Exception):
    """The worker has been told to stop: what is in hand is left, unfinished, for the next one."""


class Patience:
    """Repeats what fails for a passing reason until it succeeds or the worker leaves."""

    def __init__(self, waits: Callable[[], Iterator[float]] = backoff_s) -> None:
        self._waits = waits
        self._leaving = asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self._leaving.is_set()

    def end(self) -> None:
        """Whoever waits now, or would have to wait later, gets `LeavingError` instead."""
        self._leaving.set()

    async def insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the first call that succeeds. Raises at once what waiting cannot cure."""
        for wait_s in self._waits():
            try:
                return await work()
            except asyncio.CancelledError:
                if cancellation.is_wanted():
                    raise
                log.info("capture_waits", reason="stray_cancellation")
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    raise
                log.info("capture_waits", reason=reason_of(error))
            await self._pause(wait_s)
        raise AssertionError("waits never end")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        except TimeoutError:
            return
        raise LeavingError
