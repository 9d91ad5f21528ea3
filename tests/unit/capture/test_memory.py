import os
import subprocess
import sys
from pathlib import Path

import pytest

from capture.memory import group_memory_bytes, machine_memory_bytes, memory_budget

MIB, GIB = 1024**2, 1024**3

HOLDING = "import sys; kept = bytearray(b'x') * 64_000_000; print(flush=True); sys.stdin.read()"


def holding(group: int) -> "subprocess.Popen[bytes]":
    """A process that holds its memory when it has written a line; it ends with its input."""
    command = [sys.executable, "-c", HOLDING]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=group)


def test_a_group_is_measured_as_a_whole() -> None:
    """Two processes of 64 MB each; nothing of any other group, and nothing when they have ended."""
    with holding(0) as first, holding(first.pid) as second:
        for process in (first, second):
            assert process.stdout is not None
            process.stdout.readline()
        assert 128_000_000 <= group_memory_bytes(first.pid) < 192_000_000
        assert group_memory_bytes(os.getpgrp()) != group_memory_bytes(first.pid)
        second.communicate()
        first.communicate()
        assert group_memory_bytes(first.pid) == 0


@pytest.mark.parametrize(
    ("keep_mb", "recycle_mb", "machine_gib", "expected_mib"),
    [
        (None, None, 24, (3072, 4608)),
        (None, None, 8, (2048, 3072)),
        (None, None, 2, (512, 1536)),
        (0, None, 24, (0, 1536)),
        (4000, None, 2, (4000, 6000)),
        (None, 900, 8, (2048, 900)),
    ],
)
def test_a_browser_may_hold_a_share_of_the_machine(
    keep_mb: int | None, recycle_mb: int | None, machine_gib: int, expected_mib: tuple[int, int]
) -> None:
    """Unless the operator says how much; a fresh one takes over above what may be kept."""
    budget = memory_budget(keep_mb, recycle_mb, machine_gib * GIB)
    assert (budget.keep_bytes // MIB, budget.recycle_bytes // MIB) == expected_mib


def test_a_container_has_what_its_group_may_use(tmp_path: Path) -> None:
    """The least of the machine and the limits there are; a file that is missing or says `max` is none."""
    unlimited, limited = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    unlimited.write_text("max\n")
    limited.write_text(f"{64 * MIB}\n")
    machine_bytes = machine_memory_bytes((unlimited, tmp_path / "missing"))
    assert machine_bytes > 64 * MIB
    assert machine_memory_bytes((unlimited, limited)) == 64 * MIB
    assert machine_memory_bytes(()) == machine_bytes
