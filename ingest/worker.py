"""One process of `alerts ingest --workers N`, seen from its parent."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from multiprocessing.context import SpawnProcess
from typing import Final

import aiohttp

from runtime.operations import BACKLOG

ASK_DEADLINE_S: Final = 2.0
WEB_FD: Final = "INGEST_LISTEN_FD"
OPERATIONS_FD: Final = "OPERATIONS_LISTEN_FD"

Values = Mapping[str, str]
Work = Callable[[Values], None]
"""What a worker does with its variables. Importable: it runs in a new interpreter, and until its end."""

_LOOPBACK: Final = "127.0.0.1"
_SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """`values` are the variables of every worker, who all accept from `web`."""

    work: Work
    values: Values
    web: socket.socket
    processes: int
    drain_deadline_s: float


@dataclass(eq=False, slots=True)
class Worker:
    process: SpawnProcess
    operations_port: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that killed it. None while it runs."""
        return self.process.exitcode

    async def ready(self) -> bool:
        status, _text = await self._ask("ready")
        return status == HTTPStatus.OK

    async def metrics_text(self) -> str:
        """In the Prometheus text format; empty while it does not answer."""
        status, text = await self._ask("metrics")
        return text if status == HTTPStatus.OK else ""

    async def end(self, deadline_s: float) -> None:
        """SIGTERM, and SIGKILL after the deadline. Returns when it has ended."""
        self.process.terminate()
        try:
            async with asyncio.timeout(deadline_s):
                await self.ended.wait()
        except TimeoutError:
            self.process.kill()
            await self.ended.wait()

    async def _ask(self, what: str) -> tuple[int, str]:
        url = f"http://{_LOOPBACK}:{self.operations_port}/{what}"
        timeout = aiohttp.ClientTimeout(total=ASK_DEADLINE_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return HTTPStatus.SERVICE_UNAVAILABLE, ""


def listening_socket(host: str, port: int) -> socket.socket:
    """Bound and listening. Raises `OSError` when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def start_worker(plan: WorkerPlan) -> Worker:
    """Call it in the event loop, which hears of the worker's end."""
    with listening_socket(_LOOPBACK, 0) as operations:
        arguments = (plan.work, dict(plan.values), plan.web, operations)
        process = _SPAWN.Process(target=_work, args=arguments, daemon=True)
        process.start()
        worker = Worker(process, operations.getsockname()[1])
    loop = asyncio.get_running_loop()

    def hear() -> None:
        loop.remove_reader(process.sentinel)
        process.join()
        worker.ended.set()

    loop.add_reader(process.sentinel, hear)
    return worker


def _work(work: Work, values: Values, web: socket.socket, operations: socket.socket) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work({**values, WEB_FD: str(web.detach()), OPERATIONS_FD: str(operations.detach())})


def _end_with_parent() -> None:
    """Nobody would stop, replace or count a worker whose parent is dead."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
