import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from runtime.snapshot import Place, SnapshotError, SnapshotFile, parse

PLACE = Place(
    cluster_id="cluster", topic="tenants", partition=0, offset=9, last_offset=7, last_timestamp_ms=1_700
)
RECORDS = [b'{"n":1}', b'{"n":2}', b'{"n":3}']


def saved(path: Path, records: list[bytes] = RECORDS) -> SnapshotFile:
    file = SnapshotFile(path)
    file.save(PLACE, records)
    return file


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Place and records in their order; a later save replaces an earlier one."""
    file = saved(tmp_path / "new" / "directory", [b"{}"] * 2500)
    file.save(PLACE, RECORDS)
    loaded = file.load()
    assert loaded is not None
    assert (loaded.place, loaded.records) == (PLACE, RECORDS)


def test_no_file_is_no_error(tmp_path: Path) -> None:
    """The first start of a host has none."""
    assert SnapshotFile(tmp_path / "directory").load() is None


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """Whatever the umask; and nothing else is left in the folder."""
    umask = os.umask(0)
    try:
        saved(tmp_path / "new" / "directory")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new" / "directory").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["directory"]


def test_every_shortened_or_changed_file_is_refused(tmp_path: Path) -> None:
    """Wherever the disk lost or turned a byte."""
    saved(tmp_path / "directory")
    content = (tmp_path / "directory").read_bytes()
    for position in range(len(content)):
        turned = bytearray(content)
        turned[position] ^= 1
        for damaged in (content[:position], bytes(turned)):
            with pytest.raises(SnapshotError):
                parse(damaged)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole as it is, its meaning is not known."""
    monkeypatch.setattr("runtime.snapshot.VERSION", 2)
    saved(tmp_path / "directory")
    monkeypatch.undo()
    with pytest.raises(SnapshotError, match="version 2"):
        SnapshotFile(tmp_path / "directory").load()


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves the old file or the new one: synced, renamed, and the folder synced."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("folder" if folder else f"file of {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def note_replace(source: Path, target: Any) -> Path:
        steps.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    saved(tmp_path / "directory")
    assert steps == [f"file of {(tmp_path / 'directory').stat().st_size}", "rename", "folder"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no half one beside it."""
    file = saved(tmp_path / "directory")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        file.save(PLACE, [b"{}"])
    loaded = file.load()
    assert loaded is not None
    assert loaded.records == RECORDS
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    """But not the file of a writer that is at work beside us."""
    left, in_use, other = (tmp_path / name for name in ("directory.a.tmp", "directory.b.tmp", "other.c.tmp"))
    for path in (left, in_use, other):
        path.touch()
    for path in (left, other):
        os.utime(path, (0, 0))
    saved(tmp_path / "directory")
    assert {path.name for path in tmp_path.iterdir()} == {"directory", in_use.name, other.name}
