import subprocess
import sys
from pathlib import Path

from capture.profile import PREFIX, create_profile, sweep_profiles


def test_a_profile_is_private_and_removable(tmp_path: Path) -> None:
    """Removing it twice is as good as once."""
    profile = create_profile(tmp_path, None)
    assert profile.path.name.startswith(PREFIX)
    assert profile.path.stat().st_mode & 0o777 == 0o700
    (profile.path / "Default").mkdir()
    profile.remove()
    profile.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_spares_folders_in_use(tmp_path: Path) -> None:
    """Workers that live side by side do not pull the rug from under each other's browsers."""
    profile = create_profile(tmp_path, None)
    assert sweep_profiles(tmp_path) == 0
    assert profile.path.exists()
    profile.remove()


def test_the_sweep_removes_what_a_dead_worker_left(tmp_path: Path) -> None:
    """However the worker died: the kernel has released its lock."""
    program = (
        "import os, sys; from pathlib import Path; from capture.profile import create_profile;"
        "p = create_profile(Path(sys.argv[1]), None); (p.path / 'Cookies').write_text('x'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=30)
    (tmp_path / "something-else").mkdir()
    assert sweep_profiles(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["something-else"]


def test_the_sweep_does_not_follow_links(tmp_path: Path) -> None:
    """The folder of temporary files belongs to everybody: a planted link must not lead the sweep astray."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("kept")
    shared = tmp_path / "tmp"
    shared.mkdir()
    (shared / f"{PREFIX}planted").symlink_to(victim)
    assert sweep_profiles(shared) == 0
    assert (victim / "file").read_text() == "kept"
