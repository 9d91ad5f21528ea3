"""Spools on real files, and a disk under SQLite that counts syncs and refuses on demand."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import apsw

from ingest.spool import Spool, SpoolLimits, open_spool
from runtime.clock import Clock, SystemClock
from runtime.process import ProcessContext
from runtime.publisher import Message
from schemas.headers import Headers
from tests.support.stack import ROOT

WIDE = SpoolLimits(max_bytes=1_000_000_000, max_age_s=3600.0)
PATIENCE_S = 30
TOLD = "> "
HEADERS: Headers = [("ce_id", b"\x00\xff"), ("ce_id", b""), ("Größe", b"two of one name")]


def message(text: object, size_bytes: int = 0) -> Message:
    return Message("webhooks.raw", b"user", str(text).encode().ljust(size_bytes, b"."), list(HEADERS))


@asynccontextmanager
async def spool_in(
    folder: Path | None, limits: SpoolLimits = WIDE, clock: Clock | None = None
) -> AsyncIterator[tuple[Spool, ProcessContext]]:
    context = ProcessContext(clock=clock or SystemClock())
    async with open_spool(folder, limits, context) as spool:
        yield spool, context


async def texts(spool: Spool, limit: int = 10_000) -> list[str]:
    """Values of what would be drained next."""
    return [one.message.value.decode() for one in await spool.oldest(limit)]


def metric(context: ProcessContext, name: str, **labels: str) -> float | None:
    return context.metrics.registry.get_sample_value(f"alerts_{name}", labels)


def files(folder: Path, end: str = "") -> list[Path]:
    """In the folder, by the end of their names."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(end))


class _DiskFile(apsw.VFSFile):
    def __init__(self, disk: "Disk", name: "apsw.URIFilename | str | None", flags: list[int]) -> None:
        super().__init__(disk.real, name, flags)
        self._disk = disk
        self._journal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        if self._disk.full:
            raise apsw.FullError
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.may_sync.wait(PATIENCE_S)
        if self._disk.broken:
            raise apsw.IOError
        super().xSync(flags)
        if self._journal:
            self._disk.journal_syncs += 1


class Disk(apsw.VFS):
    """Passes everything on to the real files, unless told otherwise."""

    def __init__(self) -> None:
        self.real = apsw.vfs_names()[0]  # the first is the default
        super().__init__("test-disk", self.real, makedefault=True)
        self.full = False
        self.broken = False
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.journal_syncs = 0

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: "apsw.URIFilename | str | None", flags: list[int]
    ) -> apsw.VFSFile:
        return _DiskFile(self, name, flags)


@contextmanager
def disk() -> Iterator[Disk]:
    """Under every file that SQLite opens meanwhile in this process."""
    installed = Disk()
    try:
        yield installed
    finally:
        apsw.set_default_vfs(installed.real)
        installed.unregister()


@asynccontextmanager
async def spool_process(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of its own with a spool; see `spool_process.py`. Killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.spool_process",
        str(folder),
        *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
