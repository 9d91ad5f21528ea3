"""One file of the spool: records in the order they were put, each commit synced to disk."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import apsw
import msgspec

from runtime.errors import AlertsError, TransientError
from runtime.publisher import Message
from runtime.sql import load_queries

_SQL: Final = load_queries("ingest", "spool.sql")
_SCHEMA_VERSION: Final = 1
_DECODER: Final = msgspec.msgpack.Decoder(Message)

# What room, rights or the end of another program can mend. Any other error: the file is not what we wrote.
_DISK_ERRORS: Final = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.FullError,
    apsw.InterruptError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)


class DiskError(TransientError):
    """The disk refuses; nothing was changed, or a change may show after a crash."""


class CorruptFileError(AlertsError):
    """The file is not one of ours, of another version, or damaged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as it is stored."""

    put_at_ms: int
    crc32: int
    record: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.record)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """Rows are numbered upwards in the order of put and never twice in one file."""

    row: int
    put_at_ms: int
    message: Message


def encode_entry(message: Message, put_at_ms: int) -> Entry:
    record = msgspec.msgpack.encode(message)
    return Entry(put_at_ms, zlib.crc32(record), record)


def _stored(row: int, put_at_ms: object, crc32: object, record: object) -> StoredMessage:
    """SQLite has no checksums of its own: damage reads as rows, with values of any type."""
    if not isinstance(put_at_ms, int):
        raise CorruptFileError("time")
    return StoredMessage(row, put_at_ms, _decode(crc32, record))


def _decode(crc32: object, record: object) -> Message:
    if not isinstance(record, bytes) or zlib.crc32(record) != crc32:
        raise CorruptFileError("checksum")
    try:
        return _DECODER.decode(record)
    except msgspec.MsgspecError as error:
        raise CorruptFileError("record") from error


@contextmanager
def _sorted_errors() -> Iterator[None]:
    try:
        yield
    except _DISK_ERRORS as error:
        raise DiskError(type(error).__name__) from error
    except apsw.Error as error:
        raise CorruptFileError(type(error).__name__) from error


class SpoolFile:
    """Blocking; for one thread at a time. Every method raises `DiskError` or `CorruptFileError`.

    `records`, `size_bytes` and `oldest_ms` (None when empty) are known without disk access.
    """

    def __init__(self, path: Path) -> None:
        with _sorted_errors():
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        self.records = 0
        self.size_bytes = 0
        self.oldest_ms: int | None = None
        self._gone: set[int] = set()
        try:
            with _sorted_errors():
                modes = self._rows("configure")
            if ("wal",) not in modes or ("exclusive",) not in modes:
                raise DiskError("journal mode")
        except AlertsError:
            self.close()
            raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """A file that was created before."""
        file = cls(path)
        try:
            file._load()
        except AlertsError:
            file.close()
            raise
        return file

    @classmethod
    def create(cls, path: Path) -> None:
        """Make an empty file into a spool file. Unfinished when it raises."""
        file = cls(path)
        try:
            with file._transaction():
                file._rows("create")
        finally:
            file.close()

    def write(self, entries: Sequence[Entry]) -> None:
        """All of them or none. Returns when they are synced."""
        size_bytes = sum(entry.size_bytes for entry in entries)
        with self._transaction():
            rows = ((entry.put_at_ms, entry.crc32, entry.record) for entry in entries)
            self._connection.executemany(_SQL["insert"], rows)
            self._rows("count", len(entries), size_bytes)
        self.records += len(entries)
        self.size_bytes += size_bytes
        if self.oldest_ms is None:
            self.oldest_ms = entries[0].put_at_ms

    def read(self, limit: int) -> list[StoredMessage]:
        """The oldest records."""
        with _sorted_errors():
            rows = self._rows("read", limit + len(self._gone))
        return [_stored(*values) for values in rows if values[0] not in self._gone][:limit]

    def remove(self, rows: Sequence[int]) -> None:
        """Returns when synced. Rows that are not there are no error.

        After `DiskError` they lie on the disk still, but are not read again: a full disk, on which nothing
        can be deleted, must not stop the drain that would free it.
        """
        self._gone.update(rows)
        try:
            with self._transaction():
                sizes_bytes = [
                    size_bytes for row in self._gone for (size_bytes,) in self._rows("delete", row)
                ]
                self._rows("count", -len(sizes_bytes), -sum(sizes_bytes))
            self._gone.clear()
            self.records -= len(sizes_bytes)
            self.size_bytes -= sum(sizes_bytes)
        finally:
            self._find_oldest()

    def close(self) -> None:
        """Never raises: what is committed is on disk."""
        with suppress(apsw.Error):
            self._connection.close(True)

    def _load(self) -> None:
        with _sorted_errors():
            if self._rows("version") != [(_SCHEMA_VERSION,)]:
                raise CorruptFileError("version")
            totals = self._rows("totals")
        if len(totals) != 1 or not all(isinstance(total, int) for total in totals[0]):
            raise CorruptFileError("totals")
        self.records, self.size_bytes = totals[0]
        self._find_oldest()

    def _find_oldest(self) -> None:
        with _sorted_errors():
            rows = self._rows("oldest", 1 + len(self._gone))
        times_ms = [put_at_ms for row, put_at_ms in rows if row not in self._gone]
        if not all(isinstance(time_ms, int) for time_ms in times_ms):
            raise CorruptFileError("time")
        self.oldest_ms = times_ms[0] if times_ms else None

    def _rows(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Runs all statements of a query; without the fetch SQLite would stop at the first row."""
        return self._connection.execute(_SQL[query], values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _sorted_errors():
            try:
                self._connection.execute("begin immediate")
                yield
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise
