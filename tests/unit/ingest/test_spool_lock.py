"""Locks on files that come and go."""

import os
from pathlib import Path

from ingest.spool_lock import FileLock


def test_a_lock_that_lost_a_race_is_no_lock(tmp_path: Path) -> None:
    """Whoever opened a lock file that its holder then removed does not hold the new one at its path."""
    path = tmp_path / "x.lock"
    holder = FileLock.take(path)
    assert holder is not None
    assert FileLock.take(path) is None
    late = os.open(path, os.O_RDWR)
    late_again = os.open(path, os.O_RDWR)
    holder.remove()
    assert FileLock.claim(path, late) is None
    successor = FileLock.take(path)
    assert successor is not None
    assert FileLock.claim(path, late_again) is None
    assert path.exists()
    successor.remove()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    """Its file stays, for its owner only."""
    path = tmp_path / "x.lock"
    first = FileLock.take(path)
    assert first is not None
    first.release()
    second = FileLock.take(path)
    assert second is not None
    assert path.stat().st_mode & 0o777 == 0o600
    second.remove()
    assert not path.exists()
