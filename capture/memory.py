"""How much memory a browser holds, all its processes together."""

import contextlib
import os
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


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
