"""Programs as child processes that never outlive this one.

Each child runs in a session of its own, so that a Ctrl-C on the terminal reaches only the supervisor, and
asks the kernel for a signal on the death of the thread that started it. Start children from the main thread.
"""

import asyncio
import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.errors import ProgramFailedError

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
_OUTPUT_TAIL_BYTES: Final = 2000


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system user that a program is run as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """How to start and stop one program. Secrets belong in `environment`, never in `arguments`.

    `death_signal` is sent by the kernel when this process dies. `account` None: the current user.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    folder: Path = Path("/")
    account: Account | None = None
    inherited_fds: tuple[int, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL


def unprivileged_account() -> Account | None:
    """Whom to run as what refuses to run as root. None when this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    return None


def launch(program: Program) -> subprocess.Popen[bytes]:
    """Start the program; its output is appended to its log. Raises `OSError` when it cannot be started."""
    account = program.account
    with program.log.open("ab") as log:
        return subprocess.Popen(
            program.arguments,
            env=dict(program.environment),
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=program.inherited_fds,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            # safe beside threads: it imports nothing and takes no lock another thread could hold
            preexec_fn=_die_with_parent(program.death_signal, os.getpid()),  # noqa: PLW1509
        )


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of the process and return its code (negative: the signal that ended it)."""
    if process.poll() is None:
        await _readable(os.pidfd_open(process.pid))
    return process.wait()


async def stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals, deadline_s: float) -> None:
    """Ask the process to end; when it has not after `deadline_s`, or on cancellation, kill its group.

    Nothing of its process group is left on return.
    """
    try:
        if process.poll() is None:
            process.send_signal(stop_signal)
        async with asyncio.timeout(deadline_s):
            await ended(process)
    except TimeoutError:
        pass
    finally:
        kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for whatever is left of the process and its group, and reap it."""
    # The group's id is free for others only once its last member is gone: ESRCH says there was none.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def run_once(program: Program, deadline_s: float) -> None:
    """Run the program to its end. Raises `ProgramFailedError` with the end of its output."""
    start_byte = program.log.stat().st_size if program.log.exists() else 0
    process = launch(program)
    try:
        async with asyncio.timeout(deadline_s):
            code = await ended(process)
    except TimeoutError as error:
        raise ProgramFailedError(f"{program.name} took longer than {deadline_s:g} s") from error
    finally:
        kill_group(process)
    if code != 0:
        output = program.log.read_bytes()[start_byte:][-_OUTPUT_TAIL_BYTES:]
        raise ProgramFailedError(f"{program.name} ended with {code}:\n{output.decode(errors='replace')}")


def _die_with_parent(death_signal: signal.Signals, parent_pid: int) -> Callable[[], None]:
    # Runs between fork and exec, after the change of user, which would clear the request again.
    def request() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent_pid:
            os._exit(1)

    return request


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
