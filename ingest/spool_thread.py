"""The one thread that touches the spool's files: what waits together is committed together."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from ingest.spool_file import DiskError, Entry
from ingest.spool_folder import SpoolFolder, SpoolTotals
from runtime.errors import AlertsError, frames_of
from runtime.logging import get_logger

log = get_logger(__name__)

_BATCH: Final = 1000

T = TypeVar("T")
_Future = asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class Settled:
    """What a round of the thread changed."""

    totals: SpoolTotals
    entries_bytes: int
    """Of entries that no longer wait, written or refused."""


@dataclass(frozen=True, slots=True)
class _Put:
    entry: Entry
    done: _Future


@dataclass(frozen=True, slots=True)
class _Call:
    work: Callable[[], Any]
    done: _Future


@dataclass(frozen=True, slots=True)
class _Outcome:
    done: _Future
    result: Any = None
    error: DiskError | None = None


class SpoolThread:
    """Runs from `start` to `stop`. Its methods are called in the event loop and never block.

    Futures end with a result or `DiskError`, after `on_settled` was called in the loop.
    """

    def __init__(self, folder: SpoolFolder, on_settled: Callable[[Settled], None]) -> None:
        self._folder = folder
        self._on_settled = on_settled
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[_Put | _Call | None] = SimpleQueue()
        # a disk that hangs must not hold the process at its end
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._ended = asyncio.Event()
        self._disk_refuses = False

    def start(self) -> None:
        self._thread.start()

    async def stop(self, deadline_s: float) -> None:
        """Finish what waits, close the files. A thread that hangs longer than the deadline is left behind."""
        self._waiting.put(None)
        try:
            async with asyncio.timeout(deadline_s):
                await self._ended.wait()
        except TimeoutError:
            log.error("spool_disk_hangs", deadline_s=deadline_s)  # noqa: TRY400 - no traceback needed
        else:
            self._thread.join()

    def put(self, entry: Entry) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put(_Put(entry, done))
        return done

    def call(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Run it on the thread, after the puts that wait already."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Call(work, done))
        return done

    def _run(self) -> None:
        more = True
        while more:
            tasks, more = self._take()
            puts = [task for task in tasks if isinstance(task, _Put)]
            outcomes = self._write(puts) if puts else []
            outcomes += [self._called(task) for task in tasks if isinstance(task, _Call)]
            settled = Settled(self._folder.totals(), sum(put.entry.size_bytes for put in puts))
            self._in_loop(self._settle, outcomes, settled)
        self._attempt(self._folder.close)
        self._in_loop(self._ended.set)

    def _take(self) -> tuple[list[_Put | _Call], bool]:
        """Wait for the first, take what else is there. False when the last was taken."""
        tasks: list[_Put | _Call] = []
        with suppress(Empty):
            task = self._waiting.get()
            while task is not None:
                tasks.append(task)
                if len(tasks) == _BATCH:
                    return tasks, True
                task = self._waiting.get_nowait()
            return tasks, False
        return tasks, True

    def _write(self, puts: Sequence[_Put]) -> list[_Outcome]:
        outcome = self._attempt(lambda: self._folder.write([put.entry for put in puts]))
        if self._disk_refuses != isinstance(outcome, DiskError):
            self._disk_refuses = not self._disk_refuses
            log.warning("spool_disk_refuses" if self._disk_refuses else "spool_disk_accepts")
        error = outcome if isinstance(outcome, DiskError) else None
        return [_Outcome(put.done, error=error) for put in puts]

    def _called(self, call: _Call) -> _Outcome:
        outcome = self._attempt(call.work)
        if isinstance(outcome, DiskError):
            return _Outcome(call.done, error=outcome)
        return _Outcome(call.done, outcome)

    def _attempt(self, work: Callable[[], object]) -> object:
        """The result, or the error as a value: the thread outlives every failure."""
        try:
            return work()
        except DiskError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever the cause, nothing was accepted
            if not isinstance(error, OSError | AlertsError):
                log.error("spool_failed", error=type(error).__name__, frames=frames_of(error))  # noqa: TRY400
            return DiskError(type(error).__name__)

    def _in_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop ended before its thread
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _settle(self, outcomes: Sequence[_Outcome], settled: Settled) -> None:
        self._on_settled(settled)
        for outcome in outcomes:
            if outcome.done.done():
                continue  # its caller has given up
            if outcome.error is not None:
                outcome.done.set_exception(outcome.error)
            else:
                outcome.done.set_result(outcome.result)
