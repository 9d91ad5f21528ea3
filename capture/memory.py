"""How much memory a browser holds, all its processes together."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MIB: Final = 1024**2
# What a container may use, by version 2 and 1 of control groups.
_LIMIT_FILES: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What a browser may hold for pages that wait for their users, and at which another takes over."""

    keep_bytes: int
    recycle_bytes: int


def memory_budget(keep_mb: int | None, recycle_mb: int | None, machine_bytes: int) -> MemoryBudget:
    """What is asked for in MiB; unset: a quarter of the machine, at most 3 GiB, and half as much again."""
    keep_bytes = min(machine_bytes // 4, 3072 * _MIB) if keep_mb is None else keep_mb * _MIB
    recycle_bytes = max(keep_bytes * 3 // 2, 1536 * _MIB) if recycle_mb is None else recycle_mb * _MIB
    return MemoryBudget(keep_bytes, recycle_bytes)


def machine_memory_bytes(limit_files: tuple[Path, ...] = _LIMIT_FILES) -> int:
    """What this machine has, or the container may use of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES]
    for file in limit_files:
        # no such file, or no limit in it
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text()))
    return min(limits)


def group_memory_bytes(group: int) -> int:
    """What the processes of a process group hold beside what they share; 0 when it has none left.

    Reads the process table: some milliseconds, call from a thread.
    """
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                total += _private_bytes(entry, group)
    return total


def _private_bytes(entry: Path, group: int) -> int:
    # the command's name, in parentheses, may hold anything; then come state, parent and group
    if (entry / "stat").read_text().rpartition(")")[2].split()[2] != str(group):
        return 0
    _size, resident, shared, *_rest = (entry / "statm").read_text().split()
    return (int(resident) - int(shared)) * _PAGE_BYTES
