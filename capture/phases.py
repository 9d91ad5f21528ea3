"""How long each part of a capture took."""

from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum
from typing import Final

from runtime.clock import Clock


class Phase(StrEnum):
    """In order; readiness may be lost and found again."""

    NAVIGATE = "navigate"
    READY = "ready"
    SETTLE = "settle"
    SHOOT = "shoot"


WATCHER: Final[ContextVar[Callable[[Phase], None] | None]] = ContextVar("capture_phase_watcher", default=None)
"""Told of each phase that a capture of this task enters, so that a person can see it come."""


class Phases:
    """A stopwatch that is always in one phase; it starts in `NAVIGATE`.

    `missing` is what the page lacked when it was last heard of.
    """

    def __init__(self, clock: Clock) -> None:
        self.current = Phase.NAVIGATE
        self.missing: tuple[str, ...] = ()
        self._clock = clock
        self._entered_s = clock.monotonic_s()
        self._spent_s = dict.fromkeys(Phase, 0.0)
        self._tell()

    def enter(self, phase: Phase) -> None:
        now_s = self._clock.monotonic_s()
        self._spent_s[self.current] += now_s - self._entered_s
        self.current, self._entered_s = phase, now_s
        self._tell()

    def timings_ms(self) -> dict[str, int]:
        """Ends the present phase."""
        self.enter(self.current)
        return {phase.value: round(seconds * 1000) for phase, seconds in self._spent_s.items()}

    def _tell(self) -> None:
        watcher = WATCHER.get()
        if watcher is not None:
            watcher(self.current)
