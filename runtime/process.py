"""The life of one role's process: signals, drain deadline, operations port, one way to fail."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, Protocol, TypeVar

import uvloop

from runtime.clock import Clock, SystemClock
from runtime.errors import AlertsError, FatalError, TransientError, frames_of, reason_of
from runtime.logging import get_logger, setup_logging
from runtime.metrics import Metrics, create_metrics
from runtime.operations import serve_operations
from runtime.readiness import Readiness
from runtime.settings import LoggingSettings, OperationsSettings, load_settings

EXIT_FAILED: Final = 1
EXIT_DRAIN_DEADLINE: Final = 3
HUNG_AFTER_S: Final = 2.0
THREAD_SWITCH_S: Final = 0.0005
"""A stream's consumer has a thread of its own; by default a hand-over may wait 5 ms for the other thread."""
GARBAGE_THRESHOLD: Final = 10_000
"""New objects between two looks for garbage; the default, 700, is a dozen webhooks."""

log = get_logger(__name__)


def _future() -> "asyncio.Future[BaseException]":
    return asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """What a role gets from its process. Made inside the running loop.

    `fail` ends the process with an error as soon as possible; the first call wins. `failed` holds its error.
    """

    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=create_metrics)
    readiness: Readiness = field(default_factory=Readiness)
    failed: asyncio.Future[BaseException] = field(default_factory=_future)

    def fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_result(error)


async def guarded(work: Awaitable[None], context: ProcessContext) -> None:
    """Run a task of the process; its failure is the process's."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - handed to the process, which reports and ends
        context.fail(error)


Role = Callable[[ProcessContext], AbstractAsyncContextManager[None]]
"""Enter: the role works. Exit: it has finished what it began, within the drain deadline."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """`plain_loop` is for who opens pipes.

    uvloop closes the descriptor of a pipe twice, and in between it may be another thread's.
    """

    name: str
    logging: LoggingSettings
    operations: OperationsSettings
    plain_loop: bool = False


def run_role(settings: ProcessSettings, role: Role) -> int:
    """Run a role until SIGTERM, SIGINT or a failure. Returns the exit code.

    A role that is not drained in time ends the process without further ado (exit code 3): what it has not
    acknowledged is done again by the next one.
    """
    setup_logging(settings.logging, settings.name)
    try:
        sys.setswitchinterval(THREAD_SWITCH_S)
        if not settings.plain_loop:
            # also for the loops of threads
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        return asyncio.run(_serve(settings, role))
    except FatalError as error:
        log.error("process_failed", error=type(error).__name__, detail=str(error))  # noqa: TRY400 - no traceback
        return EXIT_FAILED


class RoleSettings(Protocol):
    """What the settings of every role hold."""

    @property
    def logging(self) -> LoggingSettings: ...

    @property
    def operations(self) -> OperationsSettings: ...


SettingsT = TypeVar("SettingsT", bound=RoleSettings)
Serve = Callable[[SettingsT, ProcessContext], AbstractAsyncContextManager[None]]


def run_command(
    name: str,
    kind: type[SettingsT],
    serve: Serve[SettingsT],
    values: Mapping[str, str],
    *,
    plain_loop: bool = False,
) -> NoReturn:
    """What `alerts <role>` does: load the role's settings, run it, exit with its code.

    Raises `SettingsError` before anything is started.
    """
    settings = load_settings(kind, values)
    process = ProcessSettings(name, settings.logging, settings.operations, plain_loop)
    sys.exit(run_role(process, lambda context: serve(settings, context)))


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that is set by the first SIGTERM or SIGINT; the handlers are removed on exit."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _serve(settings: ProcessSettings, role: Role) -> int:
    context = ProcessContext()
    started, leave = asyncio.Event(), asyncio.Event()
    context.readiness.add("started", partial(_check_started, started))
    context.readiness.add("failed", partial(_check_failed, context))
    async with (
        stop_signals() as stop,
        serve_operations(settings.operations, context.readiness, context.metrics),
    ):
        life = asyncio.create_task(_live(role, context, started, leave), name=settings.name)
        stopping = asyncio.create_task(stop.wait())
        ends: set[asyncio.Future[Any]] = {life, stopping, context.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        leave.set()
        _end_hung_process(settings.operations.drain_deadline_s + HUNG_AFTER_S)
        if not started.is_set():
            # it may wait for a broker without end, and has begun nothing that must be finished
            life.cancel()
        await _drain(life, settings.operations.drain_deadline_s)
        return _exit_code(context)


async def _live(role: Role, context: ProcessContext, started: asyncio.Event, leave: asyncio.Event) -> None:
    """The role's whole life in one task, so that its resources may use task groups and timeouts."""
    async with role(context):
        started.set()
        log.info("process_started")
        # what is here now stays: looking through it for garbage would stop the loop for tens of ms
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        await leave.wait()
        log.info("process_draining")


async def _check_started(started: asyncio.Event) -> None:
    if not started.is_set():
        raise TransientError("the role is starting")


async def _check_failed(context: ProcessContext) -> None:
    """While it drains before its end."""
    if context.failed.done():
        raise TransientError("the process has failed")


async def _drain(life: "asyncio.Task[None]", deadline_s: float) -> None:
    _done, late = await asyncio.wait({life}, timeout=deadline_s)
    if late:
        log.error("drain_deadline_passed", deadline_s=deadline_s)
        # Threads and hung awaits would keep the interpreter; nothing acknowledged is lost by leaving now.
        os._exit(EXIT_DRAIN_DEADLINE)
    if not life.cancelled():
        life.result()


def _end_hung_process(after_s: float) -> None:
    """Backstop for what holds the interpreter after the drain: a thread, a task that ignores its end."""
    timer = threading.Timer(after_s, os._exit, (EXIT_DRAIN_DEADLINE,))
    timer.daemon = True
    timer.start()


def _exit_code(context: ProcessContext) -> int:
    if not context.failed.done():
        log.info("process_stopped")
        return 0
    error = context.failed.result()
    # the text of a foreign error may quote a row or a body
    detail = str(error) if isinstance(error, AlertsError) else reason_of(error)
    log.error("process_failed", error=type(error).__name__, detail=detail, frames=frames_of(error))
    return EXIT_FAILED
