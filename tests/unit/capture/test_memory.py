import os
import subprocess
import sys

from capture.memory import group_memory_bytes

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
