"""Following `make`, the real one."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import descendants, survivors
from tests.support.stack import ROOT

FOLLOWER = """
import asyncio
from deploy.local.parent import follow_parent
from runtime.clock import SystemClock

async def main():
    stopped = asyncio.Event()
    following = asyncio.create_task(follow_parent(SystemClock(), stopped.set))
    # it looks who the parent is when it begins, which is not when it is made
    await asyncio.sleep(0)
    print("following", flush=True)
    await stopped.wait()
    await following

asyncio.run(main())
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A `make` whose only recipe is the follower."""
    (tmp_path / "follower.py").write_text(FOLLOWER)
    (tmp_path / "Makefile").write_text(f"run:\n\t@exec '{sys.executable}' '{tmp_path}/follower.py'\n")
    with subprocess.Popen(
        ["make", "-f", str(tmp_path / "Makefile")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # a shell starts background jobs with SIGINT ignored, and `make` would inherit that from the tests
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_the_follower_ends_with_make(make: subprocess.Popen[str], number: signal.Signals) -> None:
    """Whichever signal is sent to `make` alone, nothing keeps running behind its back."""
    assert make.stdout is not None
    assert make.stdout.readline() == "following\n"
    follower = descendants(make.pid)
    assert follower
    make.send_signal(number)
    assert make.wait(20) == -number
    assert not survivors(follower, 20)


def test_the_follower_stays_while_make_does(make: subprocess.Popen[str]) -> None:
    """It does not take an ordinary moment of `make` for the end."""
    assert make.stdout is not None
    assert make.stdout.readline() == "following\n"
    with pytest.raises(subprocess.TimeoutExpired):
        make.wait(2)
