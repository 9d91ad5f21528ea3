"""How long each part of a capture took."""

from enum import StrEnum

from runtime.clock import Clock


class Phase(StrEnum):
    """In order; readiness may be lost and found again."""

    NAVIGATE = "navigate"
    READY = "ready"
    SETTLE = "settle"
    SHOOT = "shoot"


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

    def enter(self, phase: Phase) -> None:
        now_s = self._clock.monotonic_s()
        self._spent_s[self.current] += now_s - self._entered_s
        self.current, self._entered_s = phase, now_s

    def timings_ms(self) -> dict[str, int]:
        """Ends the present phase."""
        self.enter(self.current)
        return {phase.value: round(seconds * 1000) for phase, seconds in self._spent_s.items()}
