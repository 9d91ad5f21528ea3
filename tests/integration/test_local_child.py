"""Child processes, real ones."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.child import Program, ended, kill_group, launch, run_once, stop, unprivileged_account
from deploy.local.errors import ProgramFailedError
from tests.support.processes import command_line, descendants, survivors

SAYS_READY = "print('ready', flush=True);"
SLEEPS = f"import time; {SAYS_READY} time.sleep(600)"
IGNORES_TERM = f"import signal, time; signal.signal(15, signal.SIG_IGN); {SAYS_READY} time.sleep(600)"
HAS_CHILD = f"import subprocess, time; subprocess.Popen(['sleep', '600']); {SAYS_READY} time.sleep(600)"
PARENT = """
import sys, time
from pathlib import Path
from deploy.local.child import Program, launch
child = launch(Program("child", ("sleep", "600"), {"PATH": "/usr/bin:/bin"}, Path(sys.argv[1])))
print(child.pid, flush=True)
time.sleep(600)
"""


def script(code: str, log: Path) -> Program:
    return Program("script", (sys.executable, "-c", code), {"PATH": os.defpath}, log)


@contextmanager
def launched(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    process = launch(program)
    try:
        yield process
    finally:
        kill_group(process)


def wait_until_ready(log: Path) -> None:
    end_s = time.monotonic() + 20  # noqa: TID251 - waits on another program
    while "ready" not in text_of(log):
        assert time.monotonic() < end_s  # noqa: TID251 - likewise
        time.sleep(0.01)


def text_of(log: Path) -> str:
    return log.read_text()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


async def test_a_child_has_a_session_of_its_own(log: Path) -> None:
    """A Ctrl-C on our terminal does not reach it."""
    with launched(script(SLEEPS, log)) as process:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)


async def test_a_child_sees_no_variable_it_was_not_given(log: Path) -> None:
    """Nothing of our environment leaks."""
    with launched(script("import os; print(sorted(os.environ))", log)) as process:
        assert await ended(process) == 0
    assert "PATH" in text_of(log)
    assert "HOME" not in text_of(log)


async def test_output_is_appended_to_the_log(log: Path) -> None:
    """A restart does not wipe the reason of the one before."""
    for text in ("one", "two"):
        await run_once(script(f"print({text!r})", log), 20)
    assert text_of(log) == "one\ntwo\n"


async def test_the_code_tells_a_signal(log: Path) -> None:
    """Negative codes are signals, as in `subprocess`."""
    with launched(script(SLEEPS, log)) as process:
        process.kill()
        assert await ended(process) == -signal.SIGKILL
        assert await ended(process) == -signal.SIGKILL


async def test_a_child_that_ignores_the_stop_signal_is_killed(log: Path) -> None:
    """The deadline holds, whatever the child does."""
    with launched(script(IGNORES_TERM, log)) as process:
        wait_until_ready(log)
        await stop(process, signal.SIGTERM, 0.2)
        assert process.returncode == -signal.SIGKILL


async def test_what_the_child_left_in_its_group_is_killed(log: Path) -> None:
    """A grandchild does not outlive a child that was stopped."""
    with launched(script(HAS_CHILD, log)) as process:
        wait_until_ready(log)
        grandchildren = descendants(process.pid)
        assert "sleep 600" in grandchildren.values()
        await stop(process, signal.SIGTERM, 20)
        assert not survivors(grandchildren, 5)


async def test_a_cancelled_stop_kills_at_once(log: Path) -> None:
    """Who hurries does not wait for the deadline."""
    with launched(script(IGNORES_TERM, log)) as process:
        wait_until_ready(log)
        stopping = asyncio.create_task(stop(process, signal.SIGTERM, 600))
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert process.returncode == -signal.SIGKILL


def test_the_kernel_ends_a_child_whose_parent_was_killed(log: Path) -> None:
    """SIGKILL leaves the parent no chance to do it itself."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        commands = {child: command_line(child)}
        parent.kill()
        assert not survivors(commands, 5)


async def test_a_failure_shows_the_end_of_the_output(log: Path) -> None:
    """Only of this run, though the log has more."""
    await run_once(script("print('earlier run')", log), 20)
    with pytest.raises(ProgramFailedError, match="script ended with 3:\nthe reason") as caught:
        await run_once(script("print('the reason'); raise SystemExit(3)", log), 20)
    assert "earlier run" not in str(caught.value)


async def test_a_job_that_takes_too_long_is_killed(log: Path) -> None:
    """Its process is gone when the error is raised."""
    before = descendants(os.getpid())
    with pytest.raises(ProgramFailedError, match="took longer than"):
        await run_once(script(SLEEPS, log), 0.2)
    assert not {pid: line for pid, line in descendants(os.getpid()).items() if pid not in before}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
async def test_root_can_hand_a_program_to_another_account(log: Path) -> None:
    """User, group and extra groups change, and the death of the parent is still noticed."""
    account = unprivileged_account()
    assert account is not None
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups())"
    program = Program("script", ("/usr/bin/python3", "-c", code), {}, log, account=account)
    await run_once(program, 20)
    assert text_of(log) == f"{account.uid} {account.gid} []\n"
