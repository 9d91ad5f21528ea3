"""Looking at the processes of this machine."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """Command lines of all living descendants by process id."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found[child] = command_line(child)
            waiting.append(child)
    return found


def command_line(pid: int) -> str:
    """Arguments with spaces between; empty when the process has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def living(pids: dict[int, str]) -> dict[int, str]:
    """Those that still run the same command. Zombies have none."""
    return {pid: command for pid, command in pids.items() if command and command_line(pid) == command}


def survivors(pids: dict[int, str], grace_s: float) -> dict[int, str]:
    """Those that have not ended after the grace; returns early when all have."""
    end_s = time.monotonic() + grace_s  # noqa: TID251 - waits on another program
    while (left := living(pids)) and time.monotonic() < end_s:  # noqa: TID251 - likewise
        time.sleep(0.02)
    return left


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # the command's name, in parentheses, may hold anything
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(entry.name), int(fields[1])


def peak_memory_bytes(pid: int) -> int:
    """The most that the process has held in memory so far; 0 when it has ended."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return 0


def memory_bytes(pid: int) -> int:
    """What the process holds in memory now; 0 when it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return 0
