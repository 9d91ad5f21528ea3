"""Following the `make` that started us: it ends, so do we.

`make` passes SIGTERM on to its child but waits for the child's end after a SIGINT that was sent to it
alone, and nothing is passed on when it is killed.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime.clock import Clock

_LOOK_EVERY_S: Final = 0.5


async def follow_parent(clock: Clock, stop: Callable[[], None]) -> None:
    """Call `stop`, once, when the parent has ended or handles a SIGINT. Endless until then."""
    parent = os.getppid()
    looks = 0
    # twice: make blocks signals for a moment on other occasions as well
    while looks < 2:  # noqa: PLR2004 - said above
        await clock.sleep(_LOOK_EVERY_S)
        looks = looks + 1 if os.getppid() != parent or _handles_interrupt(parent) else 0
    stop()


def _handles_interrupt(pid: int) -> bool:
    """Whether the process is inside its handler of SIGINT: the kernel blocks a signal while it is handled."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    blocked = next((line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")), "0")
    return bool(int(blocked, 16) >> (signal.SIGINT - 1) & 1)
