from pathlib import Path

import pytest

from deploy.local.errors import LocalError
from deploy.local.files import lock, rotate, write_private


def test_a_private_file_is_its_owners(tmp_path: Path) -> None:
    """Whatever mode an older file had."""
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["secret"]


def test_the_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Who has the old one open keeps reading the old one."""
    path = tmp_path / "secret"
    path.write_text("old")
    with path.open() as reader:
        write_private(path, "new")
        assert reader.read() == "old"


def test_a_leftover_of_a_killed_write_is_no_obstacle(tmp_path: Path) -> None:
    """The next write takes its place."""
    (tmp_path / "secret.new").write_text("half")
    write_private(tmp_path / "secret", "whole")
    assert (tmp_path / "secret").read_text() == "whole"


def test_one_log_before_is_kept(tmp_path: Path) -> None:
    """Rotation keeps the last run and drops the one before it."""
    log = tmp_path / "x.log"
    for text in ("first", "second"):
        log.write_text(text)
        rotate(log)
    assert not log.exists()
    assert (tmp_path / "x.log.1").read_text() == "second"


def test_the_lock_is_held_once(tmp_path: Path) -> None:
    """A second holder is refused, and may try again after the first."""
    path = tmp_path / "clone/.local/lock"
    path.parent.mkdir(parents=True)
    with lock(path), pytest.raises(LocalError, match="already runs in"), lock(path):
        pytest.fail("two hold the lock")
    with lock(path):
        pass
