"""One file of the spool by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.spool_file import CorruptFileError, DiskError, Entry, SpoolFile, encode_entry
from tests.support.spool import message

GOOD = encode_entry(message("a"), 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "spool.db"
    path.touch()
    SpoolFile.create(path)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[SpoolFile]:
    file = SpoolFile.open(path)
    yield file
    file.close()


def test_a_file_knows_its_size_when_opened(path: Path) -> None:
    """Without reading its records."""
    file = SpoolFile.open(path)
    file.write([GOOD, encode_entry(message("b"), 2000)])
    file.close()
    file = SpoolFile.open(path)
    assert (file.records, file.size_bytes, file.oldest_ms) == (2, 2 * GOOD.size_bytes, 1000)
    file.close()


def test_entries_are_written_all_or_none(file: SpoolFile) -> None:
    """One that the file does not take leaves nothing of the others, and the file in order."""
    bad = Entry(put_at_ms=2**70, crc32=0, record=b"")
    with pytest.raises(OverflowError):
        file.write([GOOD, bad])
    assert (file.records, file.oldest_ms) == (0, None)
    file.write([GOOD])
    assert [one.message for one in file.read(10)] == [message("a")]
    assert (file.records, file.size_bytes) == (1, GOOD.size_bytes)


def test_a_file_open_elsewhere_is_refused(file: SpoolFile, path: Path) -> None:
    """Were the lock file lost, two processes would still not write to one database."""
    file.write([GOOD])
    with pytest.raises(DiskError):
        SpoolFile.open(path)


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """Nor is a directory in its place a file."""
    with pytest.raises(DiskError):
        SpoolFile.open(tmp_path / "missing.db")
    assert list(tmp_path.iterdir()) == []


def test_a_text_is_not_a_spool_file(tmp_path: Path) -> None:
    """It is told from a disk that refuses."""
    path = tmp_path / "notes.db"
    path.write_text("not a database, but long enough to look like one" * 100)
    with pytest.raises(CorruptFileError):
        SpoolFile.open(path)
