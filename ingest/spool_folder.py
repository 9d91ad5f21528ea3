"""The spool's folder: one locked file a process, and the files of processes that are gone."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from ingest.spool_file import CorruptFileError, DiskError, Entry, SpoolFile
from ingest.spool_lock import FileLock
from runtime.disk import sync_folder
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.publisher import Message

log = get_logger(__name__)

_PREFIX: Final = "spool-"
_FILE, _NEW, _LOCK, _CORRUPT, _WAL = ".db", ".new", ".lock", ".db.corrupt", "-wal"
_CREATE_TRIES: Final = 10
_KEPT_BYTES: Final = 64 * 1024 * 1024
"""An emptied file larger than this is replaced, as SQLite does not give room back."""


class RecordNumber(NamedTuple):
    """`file` counts the files this process has held; it means nothing to another."""

    file: int
    row: int


@dataclass(frozen=True, slots=True)
class SpooledMessage:
    """`put_at_ms` is the wall clock's time."""

    number: RecordNumber
    put_at_ms: int
    message: Message


@dataclass(frozen=True, slots=True)
class SpoolTotals:
    """What all files of a process hold. `oldest_ms` is None when they are empty."""

    records: int = 0
    bytes: int = 0
    oldest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    """A file and its lock."""

    number: int
    stem: str
    lock: FileLock
    file: SpoolFile


class SpoolFolder:
    """The files this process holds. Blocking; for one thread at a time.

    New records go to the process's own file, which is made when it is needed. A file that turns out to be
    corrupt is renamed, kept and reported, and the work goes on without it.
    """

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self._folder = folder
        self._metrics = metrics
        self._numbers = count(1)
        self._own: _Held | None = None
        self._adopted: list[_Held] = []

    def prepare(self) -> None:
        """Make folder and own file, before they are needed. Raises `OSError` or `DiskError`."""
        self._own = self._own or self._create()

    def adopt(self) -> None:
        """Take over every file whose process is gone. Raises `OSError`."""
        for stem in self._stems():
            if lock := FileLock.take(self._path(stem, _LOCK)):
                self._adopt(stem, lock)
        self._adopted.sort(key=lambda held: held.file.oldest_ms or 0)

    def write(self, entries: Sequence[Entry]) -> None:
        """Returns when all are synced. Raises `OSError` or `DiskError`; then none is accepted."""
        self._own = self._own or self._create()
        try:
            self._own.file.write(entries)
        except CorruptFileError as error:
            self._set_aside(self._own, error)
            self._own = self._create()
            self._own.file.write(entries)

    def read(self, limit: int) -> list[SpooledMessage]:
        """The oldest first: adopted files, then the own one.

        Raises `OSError`, or `DiskError` when no file can be read.
        """
        found: list[SpooledMessage] = []
        refused: DiskError | None = None
        for held in self._held():
            try:
                found += self._read(held, limit - len(found))
            except DiskError as error:
                refused = error
        if refused is not None and not found:
            raise refused
        return found

    def remove(self, numbers: Iterable[RecordNumber]) -> None:
        """Raises `OSError` or `DiskError`; even then this process does not read them again."""
        rows: dict[int, list[int]] = {}
        for number in numbers:
            rows.setdefault(number.file, []).append(number.row)
        refused: DiskError | None = None
        for held in self._held():
            try:
                self._remove(held, rows.get(held.number, []))
            except DiskError as error:
                refused = error
        if refused is not None:
            raise refused

    def totals(self) -> SpoolTotals:
        files = [held.file for held in self._held()]
        times_ms = [file.oldest_ms for file in files if file.oldest_ms is not None]
        return SpoolTotals(
            records=sum(file.records for file in files),
            bytes=sum(file.size_bytes for file in files),
            oldest_ms=min(times_ms, default=None),
        )

    def close(self) -> None:
        """Files with records are left for the next process. Raises `OSError`."""
        for held in self._held():
            if held.file.oldest_ms is None:
                self._delete(held)
            else:
                held.file.close()
                held.lock.release()
        self._own, self._adopted = None, []

    def _held(self) -> list[_Held]:
        return [*self._adopted, self._own] if self._own else list(self._adopted)

    def _path(self, stem: str, suffix: str) -> Path:
        return self._folder / f"{stem}{suffix}"

    def _stems(self) -> list[str]:
        """Of files that may be orphans."""
        ours = {held.stem for held in self._held()}
        names = [path.name for path in self._folder.glob(f"{_PREFIX}*")]
        stems = {name.removesuffix(end) for name in names for end in (_FILE, _LOCK) if name.endswith(end)}
        return sorted(stems - ours)

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._folder.chmod(0o700)
        except PermissionError:
            log.warning("spool_folder_not_ours")  # the root of a mounted volume; the files are private anyway

    def _create(self) -> _Held:
        self._make_folder()
        stem, lock = self._new_lock()
        path, new = self._path(stem, _FILE), self._path(stem, _NEW)
        try:
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            SpoolFile.create(new)
            # under its name a file is always whole, so that an empty one is known to be damaged
            new.rename(path)
            sync_folder(self._folder)
            return _Held(next(self._numbers), stem, lock, SpoolFile.open(path))
        except BaseException:
            self._delete_files(stem)
            lock.remove()
            raise

    def _new_lock(self) -> tuple[str, FileLock]:
        for _ in range(_CREATE_TRIES):
            descriptor, name = tempfile.mkstemp(_LOCK, _PREFIX, self._folder)
            path = Path(name)
            if lock := FileLock.claim(path, descriptor):
                return path.name.removesuffix(_LOCK), lock
        raise DiskError("no lock")

    def _adopt(self, stem: str, lock: FileLock) -> None:
        path = self._path(stem, _FILE)
        if not path.exists():
            self._delete_files(stem)
            lock.remove()
            return
        try:
            held = _Held(next(self._numbers), stem, lock, SpoolFile.open(path))
        except CorruptFileError as error:
            self._rename(stem, lock, error)
        except DiskError as error:
            lock.release()
            log.warning("spool_file_not_adopted", file=stem, error=str(error))
        else:
            self._adopted.append(held)
            log.info("spool_file_adopted", file=stem, records=held.file.records)
            self._drop_if_empty(held)

    def _read(self, held: _Held, limit: int) -> list[SpooledMessage]:
        try:
            stored = held.file.read(limit) if limit > 0 else []
        except CorruptFileError as error:
            self._set_aside(held, error)
            return []
        return [
            SpooledMessage(RecordNumber(held.number, one.row), one.put_at_ms, one.message) for one in stored
        ]

    def _remove(self, held: _Held, rows: Sequence[int]) -> None:
        if not rows:
            return
        try:
            held.file.remove(rows)
        except CorruptFileError as error:
            self._set_aside(held, error)
            return
        finally:
            self._drop_if_empty(held)

    def _drop_if_empty(self, held: _Held) -> None:
        if held.file.oldest_ms is not None or held not in self._held():
            return
        # records without an oldest are those that a full disk did not let go
        worn = held.file.records > 0 or self._path(held.stem, _FILE).stat().st_size > _KEPT_BYTES
        if held is not self._own or worn:
            self._forget(held)
            self._delete(held)

    def _forget(self, held: _Held) -> None:
        if held is self._own:
            self._own = None
        else:
            self._adopted.remove(held)

    def _delete(self, held: _Held) -> None:
        held.file.close()
        try:
            self._delete_files(held.stem)
        except OSError:
            held.lock.release()
            raise
        held.lock.remove()

    def _delete_files(self, stem: str) -> None:
        for suffix in (_FILE, _NEW):
            self._path(stem, suffix).unlink(missing_ok=True)
            self._path(stem, suffix + _WAL).unlink(missing_ok=True)

    def _set_aside(self, held: _Held, error: CorruptFileError) -> None:
        self._forget(held)
        held.file.close()
        self._rename(held.stem, held.lock, error)

    def _rename(self, stem: str, lock: FileLock, error: CorruptFileError) -> None:
        """Under the new names SQLite still finds the two parts of one database."""
        log.error("spool_file_set_aside", file=stem, cause=str(error))
        self._metrics.spool_set_aside.inc()
        try:
            with suppress(FileNotFoundError):
                self._path(stem, _FILE + _WAL).rename(self._path(stem, _CORRUPT + _WAL))
            self._path(stem, _FILE).rename(self._path(stem, _CORRUPT))
        except OSError:
            lock.release()
            raise
        lock.remove()
