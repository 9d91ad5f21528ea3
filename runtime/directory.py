"""The tenants in memory, from the compacted `tenants` topic. Works while Postgres is away.

A snapshot on disk lets it start while Kafka is away too: then known tokens work, and it is not current.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from runtime.clock import Clock
from runtime.directory_reader import DirectoryReader
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.process import ProcessContext, guarded
from runtime.settings import KafkaSettings
from runtime.snapshot import Place, SnapshotError, SnapshotFile
from runtime.tenants import TenantDirectory
from schemas.codec import RecordDecodeError

SNAPSHOT_INTERVAL_S: Final = 10.0
_SAVE_DEADLINE_S: Final = 10.0

__all__ = ("DirectoryReader", "TenantDirectory", "open_directory")

log = get_logger(__name__)


@asynccontextmanager
async def open_directory(
    settings: KafkaSettings, context: ProcessContext, client_id: str, snapshot: Path | None = None
) -> AsyncIterator[DirectoryReader]:
    """A reader that follows the topic until the block is left. Does not wait for a broker.

    With a path, what is known is kept there; it is what the reader starts with. Whoever must know what the
    topic itself holds passes none: compaction may have taken from the topic what a snapshot still has.
    """
    file = None if snapshot is None else SnapshotFile(snapshot)
    reader = await _open_reader(file, context.metrics)
    work = {
        "directory-follow": reader.follow(settings, client_id),
        "directory-watch": reader.watch(),
    }
    if file is not None:
        work["directory-snapshot"] = _keep_snapshot(reader, file, context.clock)
    tasks = [asyncio.create_task(guarded(doing, context), name=name) for name, doing in work.items()]
    # a task that is cancelled before it began leaves a coroutine that nobody awaits
    await asyncio.sleep(0)
    context.readiness.add("directory", lambda: reader.confirm_applied(2.0))
    try:
        yield reader
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await reader.close()


async def _open_reader(file: SnapshotFile | None, metrics: Metrics) -> DirectoryReader:
    if file is not None:
        try:
            loaded = await asyncio.to_thread(_load, file)
        except (SnapshotError, RecordDecodeError, OSError) as error:
            # the topic has it all
            log.warning("snapshot_ignored", error=type(error).__name__, detail=str(error))
        else:
            if loaded is not None:
                return DirectoryReader(loaded[0], metrics, loaded[1])
    return DirectoryReader(TenantDirectory(), metrics)


def _load(file: SnapshotFile) -> tuple[TenantDirectory, Place] | None:
    snapshot = file.load()
    return None if snapshot is None else (TenantDirectory.of(snapshot.records), snapshot.place)


async def _keep_snapshot(reader: DirectoryReader, file: SnapshotFile, clock: Clock) -> None:
    saved: Place | None = None
    try:
        while True:
            await clock.sleep(SNAPSHOT_INTERVAL_S)
            saved = await _save(reader, file, saved)
    finally:
        await _save(reader, file, saved)


async def _save(reader: DirectoryReader, file: SnapshotFile, saved: Place | None) -> Place | None:
    """Returns the place that is on the disk now. The copying is done here, the rest in a thread."""
    place = reader.place()
    if place is None or place == saved:
        return saved
    try:
        async with asyncio.timeout(_SAVE_DEADLINE_S):
            await asyncio.to_thread(file.save, place, reader.directory.records())
    except OSError as error:
        # includes TimeoutError; what was there is still there, and the next round tries again
        log.warning("snapshot_not_saved", error=type(error).__name__)
        return saved
    return place
