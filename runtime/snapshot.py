"""The directory on disk: one file that is whole or is not used.

First line: the SHA-256 of all that follows. Second line: the `Header`. Then one `Tenant` a line, as JSON.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from runtime.disk import sync_folder

VERSION: Final = 1
_LINES_A_WRITE: Final = 1000
_LEFT_BEHIND_S: Final = 3600


class SnapshotError(Exception):
    """The file is not one that this version wrote completely."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place in one topic's log; `offset` is the next to read.

    The last record read is named too: a log that was made anew under the same name has another one there.
    """

    cluster_id: str
    topic: str
    partition: int
    offset: int
    last_offset: int
    last_timestamp_ms: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    tenants: int
    place: Place


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The encoded tenants at a place."""

    place: Place
    records: list[bytes]


class SnapshotFile:
    """Several processes may share the path: the last writer wins, and readers see one writer's file.

    All calls block on the disk. Calls of `save` from several threads are done one after the other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def load(self) -> Snapshot | None:
        """None when there is no file. Raises `SnapshotError`, or the `OSError` of a disk that fails."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return parse(content)

    def save(self, place: Place, records: Sequence[bytes]) -> None:
        """Returns when the file, only readable by its owner, is on the disk under its name.

        Raises `OSError`; then the file that was there is still there.
        """
        with self._lock:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(Header(version=VERSION, tenants=len(records), place=place), records)
            sync_folder(self._path.parent)

    def _write(self, header: Header, records: Sequence[bytes]) -> None:
        # mkstemp gives 0600 and a name of its own to each of several writers
        descriptor, name = tempfile.mkstemp(".tmp", f"{self._path.name}.", self._path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                digest = hashlib.sha256()
                file.write(b"0" * digest.digest_size * 2 + b"\n")
                for chunk in _chunks(header, records):
                    digest.update(chunk)
                    file.write(chunk)
                file.seek(0)
                file.write(digest.hexdigest().encode())
                file.flush()
                os.fsync(file.fileno())
            self._remove_left_behind(temporary)
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _remove_left_behind(self, own: Path) -> None:
        """What writers that were killed left. By the disk's own times: young files may be in use."""
        oldest_s = own.stat().st_mtime - _LEFT_BEHIND_S
        for other in self._path.parent.glob(f"{self._path.name}.*.tmp"):
            try:
                if other.stat().st_mtime < oldest_s:
                    other.unlink()
            except FileNotFoundError:
                continue


def parse(content: bytes) -> Snapshot:
    """Raises `SnapshotError` for anything that `SnapshotFile.save` of this version did not write. Pure."""
    checksum, _, rest = content.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != checksum:
        raise SnapshotError("the checksum does not fit")
    head, *records = rest.splitlines()
    try:
        # the version comes first: another version's header may look different
        version = msgspec.json.decode(head, type=_Version).version
        if version != VERSION:
            raise SnapshotError(f"version {version}, not {VERSION}")
        header = msgspec.json.decode(head, type=Header)
    except msgspec.MsgspecError as error:
        raise SnapshotError(str(error)) from error
    if len(records) != header.tenants:
        raise SnapshotError("the number of tenants does not fit")
    return Snapshot(place=header.place, records=records)


class _Version(msgspec.Struct, frozen=True):
    version: int


def _chunks(header: Header, records: Sequence[bytes]) -> Iterator[bytes]:
    yield msgspec.json.encode(header) + b"\n"
    for start in range(0, len(records), _LINES_A_WRITE):
        yield _lines(records[start : start + _LINES_A_WRITE])


def _lines(records: Iterable[bytes]) -> bytes:
    return b"".join(record + b"\n" for record in records)
