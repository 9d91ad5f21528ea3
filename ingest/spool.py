"""Where accepted webhooks wait on disk while Kafka is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from ingest.spool_file import DiskError, encode_entry
from ingest.spool_folder import RecordNumber, SpooledMessage, SpoolFolder, SpoolTotals
from ingest.spool_thread import Settled, SpoolThread
from runtime.errors import TransientError
from runtime.logging import get_logger
from runtime.process import ProcessContext, guarded
from runtime.publisher import Message

log = get_logger(__name__)

ADOPT_EVERY_S: Final = 2.0
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
"""What a disk that hangs may hold in memory."""

_START_DEADLINE_S: Final = 10.0
_STOP_DEADLINE_S: Final = 10.0

T = TypeVar("T")


class SpoolRefusal(StrEnum):
    """Why the spool does not take a record."""

    OFF = "off"
    CLOSED = "closed"
    FULL = "full"
    TOO_OLD = "too_old"
    DISK = "disk"


class SpoolRefusedError(TransientError):
    """Not accepted this time. What was accepted before is kept."""

    def __init__(self, refusal: SpoolRefusal) -> None:
        super().__init__(f"spool: {refusal}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Of one process, with the files it adopts. `max_bytes` counts records, without SQLite's pages."""

    max_bytes: int
    max_age_s: float


@dataclass(frozen=True, slots=True)
class SpoolSize:
    """`oldest_age_s` is 0 when the spool is empty."""

    records: int
    bytes: int
    oldest_age_s: float


class Spool:
    """Records in the order they were put, until they are removed. Made inside the running loop.

    A record may be read again after it was removed, by the next process after a crash. Without a folder the
    spool is off. All waits are on the local disk; a caller that cannot wait sets the deadline.
    """

    def __init__(self, folder: SpoolFolder | None, limits: SpoolLimits, context: ProcessContext) -> None:
        self._folder = folder
        self._limits = limits
        self._clock = context.clock
        self._metrics = context.metrics
        self._thread = SpoolThread(folder, self._settled) if folder else None
        self._closed_as = SpoolRefusal.OFF
        self._totals = SpoolTotals()
        self._waiting_bytes = 0
        self._metrics.spool_records.set_function(lambda: self._totals.records)
        self._metrics.spool_bytes.set_function(lambda: self._totals.bytes)
        self._metrics.spool_oldest_seconds.set_function(lambda: self.size().oldest_age_s)

    async def put(self, message: Message) -> None:
        """Returns when the record is synced to disk. Raises `SpoolRefusedError`.

        Cancelled, it may be written all the same.
        """
        try:
            await self._put(message)
        except SpoolRefusedError as error:
            self._metrics.spool_puts.labels(error.refusal).inc()
            raise
        self._metrics.spool_puts.labels("stored").inc()

    async def oldest(self, limit: int) -> list[SpooledMessage]:
        """The records put first, with those of adopted files before the own. Raises `SpoolRefusedError`."""
        if self._folder is None:
            return []
        return await self._call(lambda folder: folder.read(limit))

    async def remove(self, numbers: Iterable[RecordNumber]) -> None:
        """Returns when synced; numbers that are gone are no error. For records that are durable elsewhere.

        Raises `SpoolRefusedError`; this process does not offer them again even then, the next one may.
        """
        removed = list(numbers)
        self._metrics.spool_drained.inc(len(removed))
        await self._call(lambda folder: folder.remove(removed))

    def size(self) -> SpoolSize:
        """As of the last change. No disk access."""
        totals = self._totals
        age_ms = 0 if totals.oldest_ms is None else self._clock.unix_ms() - totals.oldest_ms
        return SpoolSize(totals.records, totals.bytes, max(0.0, age_ms / 1000))

    async def adopt(self) -> None:
        """Take over the files of processes that are gone. Raises `SpoolRefusedError`."""
        await self._call(lambda folder: folder.adopt())

    async def start(self) -> None:
        """A disk that refuses or hangs is only reported: it may work later."""
        if self._thread is None:
            return
        self._thread.start()
        try:
            async with asyncio.timeout(_START_DEADLINE_S):
                await self.adopt()
                await self._call(lambda folder: folder.prepare())
        except (SpoolRefusedError, TimeoutError) as error:
            log.error("spool_not_ready", error=type(error).__name__)  # noqa: TRY400 - the cause is named

    async def close(self) -> None:
        """Refuse from now on; finish what waits."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closed_as = SpoolRefusal.CLOSED
            await thread.stop(_STOP_DEADLINE_S)

    async def keep_adopting(self) -> None:
        """For ever."""
        while True:
            await self._clock.sleep(ADOPT_EVERY_S)
            try:
                await self.adopt()
            except SpoolRefusedError:
                log.warning("spool_folder_not_read")

    async def _put(self, message: Message) -> None:
        entry = encode_entry(message, self._clock.unix_ms())
        if self._thread is None:
            raise SpoolRefusedError(self._closed_as)
        self._check_limits(entry.size_bytes)
        self._waiting_bytes += entry.size_bytes
        await _or_refused(self._thread.put(entry))

    def _check_limits(self, size_bytes: int) -> None:
        waiting_bytes = self._waiting_bytes + size_bytes
        if waiting_bytes > MAX_WAITING_BYTES or self._totals.bytes + waiting_bytes > self._limits.max_bytes:
            raise SpoolRefusedError(SpoolRefusal.FULL)
        if self.size().oldest_age_s > self._limits.max_age_s:
            raise SpoolRefusedError(SpoolRefusal.TOO_OLD)

    def _settled(self, settled: Settled) -> None:
        self._totals = settled.totals
        self._waiting_bytes -= settled.entries_bytes

    async def _call(self, work: Callable[[SpoolFolder], T]) -> T:
        if self._thread is None or self._folder is None:
            raise SpoolRefusedError(self._closed_as)
        folder = self._folder
        return await _or_refused(self._thread.call(lambda: work(folder)))


@asynccontextmanager
async def _adopting(spool: Spool, context: ProcessContext) -> AsyncIterator[None]:
    task = asyncio.create_task(_keep_adopting(spool, context), name="spool-adoption")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep_adopting(spool: Spool, context: ProcessContext) -> None:
    """Makes the coroutine when the task runs: one cancelled before would be left unawaited."""
    await guarded(spool.keep_adopting(), context)


async def _or_refused(done: "asyncio.Future[T]") -> T:
    try:
        return await done
    except DiskError as error:
        raise SpoolRefusedError(SpoolRefusal.DISK) from error


@asynccontextmanager
async def open_spool(
    folder: Path | None, limits: SpoolLimits, context: ProcessContext
) -> AsyncIterator[Spool]:
    """The spool of this process; off without a folder. Needs a file system with `flock`.

    Call after a fork, not before: a forked process would keep the lock of its parent's file.
    """
    spool = Spool(SpoolFolder(folder, context.metrics) if folder else None, limits, context)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(spool.close)
        await spool.start()
        if folder is not None:
            await stack.enter_async_context(_adopting(spool, context))
        yield spool
