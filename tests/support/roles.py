"""Tiny roles, run as processes: `python -m tests.support.roles NAME [OPERATIONS_PORT]`."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from runtime.errors import FatalError, TransientError
from runtime.logging import get_logger
from runtime.process import ProcessContext, ProcessSettings, Role, guarded, run_role
from runtime.settings import LoggingSettings, OperationsSettings, load_section

log = get_logger(__name__)


async def away() -> None:
    raise TransientError("postgresql://alerts:s3cr3t@db")


@asynccontextmanager
async def steady(_context: ProcessContext) -> AsyncIterator[None]:
    """Works, and has something to finish."""
    yield
    await asyncio.sleep(0.01)
    log.info("drained")


@asynccontextmanager
async def unready(context: ProcessContext) -> AsyncIterator[None]:
    """Works, but a dependency is away."""
    context.readiness.add("database", away)
    context.metrics.spool_puts.labels("stored").inc()
    yield


@asynccontextmanager
async def failing(context: ProcessContext) -> AsyncIterator[None]:
    """A task of it fails while it works."""

    async def fail() -> None:
        raise FatalError("told to fail")

    async with asyncio.TaskGroup() as group:
        group.create_task(guarded(fail(), context))
        yield
        log.info("drained")


@asynccontextmanager
async def failing_watched(context: ProcessContext) -> AsyncIterator[None]:
    """Has failed, and drains until somebody asks whether it is ready."""
    asked = asyncio.Event()

    async def note() -> None:
        asked.set()

    context.fail(FatalError("told to fail"))
    yield
    context.readiness.add("asked", note)
    await asked.wait()


@asynccontextmanager
async def stubborn(_context: ProcessContext) -> AsyncIterator[None]:
    """Hangs in a thread on its way out, where no cancellation reaches it."""
    yield
    await asyncio.to_thread(threading.Event().wait)


@asynccontextmanager
async def haunted(_context: ProcessContext) -> AsyncIterator[None]:
    """Drains, and leaves a task behind that does not end when it is told to."""

    async def stay() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    task = asyncio.create_task(stay())
    yield
    log.info("drained", left_behind=task.get_name())


@asynccontextmanager
async def waiting(_context: ProcessContext) -> AsyncIterator[None]:
    """Never gets as far as working."""
    log.info("start_waits")
    try:
        await asyncio.Event().wait()
        yield
    finally:
        log.info("start_abandoned")


@asynccontextmanager
async def failing_start(context: ProcessContext) -> AsyncIterator[None]:
    """Something fails while the start still waits."""
    context.fail(FatalError("told to fail"))
    await asyncio.Event().wait()
    yield


@asynccontextmanager
async def broken(_context: ProcessContext) -> AsyncIterator[None]:
    """Cannot start."""
    raise FatalError("cannot start")
    yield


ROLES: Final[dict[str, Role]] = {
    role.__name__: role
    for role in (
        steady,
        unready,
        failing,
        failing_watched,
        stubborn,
        haunted,
        waiting,
        failing_start,
        broken,
    )
}


def main(name: str, port: str = "0") -> int:
    """Run one role with JSON logs and a drain deadline of half a second."""
    values = {"LOG_FORMAT": "json", "OPERATIONS_PORT": port, "OPERATIONS_DRAIN_DEADLINE_S": "0.5"}
    settings = ProcessSettings(
        name, load_section(LoggingSettings, values), load_section(OperationsSettings, values)
    )
    return run_role(settings, ROLES[name])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
