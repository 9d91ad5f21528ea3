import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture.launcher import Account, BrowserProcess, BrowserProgram, browser_account, launch
from capture.profile import create_profile
from runtime.errors import FatalError
from tests.support.processes import command_line, survivors

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


def script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "browser"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def start(tmp_path: Path, body: str, account: Account | None = None) -> BrowserProcess:
    owner = (account.uid, account.gid) if account else None
    return launch(
        BrowserProgram(script(tmp_path, body), ("--flag",), account), create_profile(tmp_path, owner)
    )


async def output_of(process: BrowserProcess) -> str:
    """All it writes to stderr, and its end."""
    with os.fdopen(process.errors_fd, "rb") as errors:
        text = await asyncio.to_thread(errors.read)
    for descriptor in (process.commands_fd, process.replies_fd):
        os.close(descriptor)
    await process.end()
    return text.decode()


async def test_the_browser_sees_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the database's password and the encryption keys."""
    monkeypatch.setenv("ENCRYPTION_KEYS", "k1:secret")
    seen = await output_of(start(tmp_path, "env >&2"))
    assert "secret" not in seen
    names = {line.partition("=")[0] for line in seen.splitlines()}
    allowed = {
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "TZ",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "PWD",
        "OLDPWD",
        "_",
    }
    assert names <= allowed


async def test_the_browser_gets_only_its_own_descriptors(tmp_path: Path) -> None:
    """Standard ones, and 3 and 4 for commands and replies; no database connection, no lock."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 50)  # inheritable, as a careless library would leave it
    seen = await output_of(start(tmp_path, "exec ls /proc/self/fd >&2"))
    os.close(null)
    os.close(50)
    # one more is the folder that is being listed
    assert sorted(map(int, seen.split())) == [0, 1, 2, 3, 4, 5]


async def test_commands_go_in_and_replies_come_out(tmp_path: Path) -> None:
    """The two ends are not mixed up, whatever numbers were free in this process."""
    process = start(tmp_path, 'read line <&3; echo "got $line" >&4')
    os.write(process.commands_fd, b"hello\n")
    assert await asyncio.to_thread(os.read, process.replies_fd, 100) == b"got hello\n"
    await output_of(process)


async def test_the_end_takes_the_whole_group_and_the_folder(tmp_path: Path) -> None:
    """Children of the browser too, also when the browser itself is dead already."""
    started = "until grep -q sleep /proc/$!/cmdline; do :; done"
    process = start(tmp_path, f"sleep 1000 & {started}; echo $! >&4; exit 0")
    child = int(await asyncio.to_thread(os.read, process.replies_fd, 100))
    command = {child: command_line(child)}
    assert command[child]
    for descriptor in (process.commands_fd, process.replies_fd, process.errors_fd):
        os.close(descriptor)
    await process.end()
    await process.end()
    assert await asyncio.to_thread(survivors, command, 2.0) == {}
    assert not process.profile.path.exists()


async def test_it_leads_a_session_of_its_own(tmp_path: Path) -> None:
    """A Ctrl-C on the worker's terminal does not reach it."""
    process = start(tmp_path, "exec sleep 1000")
    assert os.getsid(process.popen.pid) == process.popen.pid
    os.kill(process.popen.pid, signal.SIGKILL)
    await output_of(process)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@needs_root
async def test_root_starts_it_as_somebody_else(open_folder: Path) -> None:
    """No user, group or supplementary group of root is left, and the profile is its own."""
    account = browser_account("nobody")
    assert account is not None
    process = start(open_folder, "id -u >&2; id -G >&2; touch mine && echo ok >&2", account)
    uid, groups, written = (await output_of(process)).splitlines()
    assert (int(uid), groups, written) == (account.uid, str(account.gid), "ok")


@needs_root
@pytest.mark.parametrize("name", ["root", "no-such-user-here"])
def test_a_wrong_account_ends_the_start(name: str) -> None:
    """The browser never runs as root, not even by mistake."""
    with pytest.raises(FatalError, match="CAPTURE_BROWSER_USER"):
        browser_account(name)


async def test_a_missing_file_leaks_nothing(tmp_path: Path) -> None:
    """The descriptors are closed again."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    profile = create_profile(tmp_path, None)
    with pytest.raises(FileNotFoundError):
        launch(BrowserProgram(tmp_path / "nowhere", (), None), profile)
    profile.remove()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - names only
