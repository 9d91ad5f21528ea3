"""Starts the browser's ELF file so that nothing of it can outlive this process, and ends it for good."""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import pwd
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capture.profile import Profile
from runtime.errors import FatalError

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
# The browser reads commands from 3 and writes replies to 4: --remote-debugging-pipe knows no other way.
_COMMANDS_FD: Final = 3
_REPLIES_FD: Final = 4
_PIPE_BYTES: Final = 1024 * 1024
_REAP_DEADLINE_S: Final = 5
_SEARCH_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system user."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class BrowserProgram:
    """What to start. `account` None: as this process. Arguments are visible to all users: no secrets."""

    executable: Path
    arguments: tuple[str, ...]
    account: Account | None


@dataclass(frozen=True, slots=True)
class BrowserProcess:
    """A browser in a session and process group of its own; the descriptors are this process's to close."""

    popen: subprocess.Popen[bytes]
    profile: Profile
    commands_fd: int
    replies_fd: int
    errors_fd: int

    async def end(self) -> None:
        """SIGKILL the whole group, reap it, remove the profile. Idempotent, takes some milliseconds.

        The kill happens before the first suspension and the rest in a thread, so cancellation stops neither.
        """
        # Once reaped, the group's number may be another's; nobody but `_bury` reaps.
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)
        await asyncio.to_thread(self._bury)

    def _bury(self) -> None:
        self.popen.wait(_REAP_DEADLINE_S)
        self.profile.remove()


def browser_account(name: str) -> Account | None:
    """The account that a browser started by root runs as, so that its sandbox can stay on; None if not root.

    Raises `FatalError` for an account that does not exist or is root itself.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise FatalError(f"CAPTURE_BROWSER_USER: there is no user {name}") from error
    if entry.pw_uid == 0:
        raise FatalError("CAPTURE_BROWSER_USER: the browser must not run as root")
    return Account(entry.pw_uid, entry.pw_gid)


def launch(program: BrowserProgram, profile: Profile) -> BrowserProcess:
    """Fork and exec; blocks for some milliseconds. Raises `OSError` when the file cannot be executed.

    Call it from the main thread: the kernel kills the browser when the *thread* that started it ends.
    """
    commands_read, commands_write = os.pipe()
    replies_read, replies_write = os.pipe()
    # A picture is many times the default size of a pipe; a refusal costs only some speed.
    with contextlib.suppress(OSError):
        fcntl.fcntl(replies_write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        popen = _start(program, profile, (commands_read, replies_write))
    except OSError:
        os.close(commands_write)
        os.close(replies_read)
        raise
    finally:
        os.close(commands_read)
        os.close(replies_write)
    assert popen.stderr is not None  # noqa: S101 - Popen was asked for it
    errors_fd = os.dup(popen.stderr.fileno())
    popen.stderr.close()
    return BrowserProcess(popen, profile, commands_write, replies_read, errors_fd)


def _start(program: BrowserProgram, profile: Profile, pipes: tuple[int, int]) -> subprocess.Popen[bytes]:
    account = program.account
    folder = str(profile.path)
    return subprocess.Popen(
        [program.executable, f"--user-data-dir={folder}", "--remote-debugging-pipe", *program.arguments],
        env=_environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Both numbers are in use here, by these pipes if by nothing else, as `Popen` requires.
        pass_fds=(_COMMANDS_FD, _REPLIES_FD),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        # safe beside threads: it imports nothing and takes no lock another thread could hold
        preexec_fn=_prepare_child(*pipes, os.getpid()),  # noqa: PLW1509
    )


def _environment(folder: str) -> dict[str, str]:
    """Nothing of this process's own environment, which holds secrets."""
    return {
        "PATH": _SEARCH_PATH,
        "HOME": folder,
        "TMPDIR": folder,
        "XDG_CACHE_HOME": f"{folder}/cache",
        "XDG_CONFIG_HOME": f"{folder}/config",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


def _prepare_child(commands_read: int, replies_write: int, parent_pid: int) -> Callable[[], None]:
    # Runs between fork and exec, after the change of user, which would clear the death signal again.
    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent_pid:
            os._exit(1)
        commands, replies = os.dup(commands_read), os.dup(replies_write)
        os.dup2(commands, _COMMANDS_FD)
        os.dup2(replies, _REPLIES_FD)

    return prepare
