"""How much of a stage's records become dead letters of late: after a bad deploy, that may be all of them."""

from collections import deque
from dataclasses import dataclass

from runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class ShareLimits:
    """Exceeded by more than `deadletters` in the window that are more than `share` of what it settled."""

    window_s: float = 300.0
    deadletters: int = 20
    share: float = 0.5


class DeadLetterShare:
    """Counts what a stage settles. Not thread-safe; lives in the event loop."""

    def __init__(self, clock: Clock, limits: ShareLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits or ShareLimits()
        self._settled: deque[tuple[float, int, int]] = deque()
        self._good = 0
        self._dead = 0

    def add_good(self, records: int) -> None:
        self._add(records, 0)

    def add_dead(self) -> None:
        self._add(0, 1)

    def allows_another(self) -> bool:
        """Whether one more dead letter stays within the limits. Ask before it is published."""
        self._forget()
        dead = self._dead + 1
        few = dead <= self._limits.deadletters
        return few or dead <= self._limits.share * (self._good + dead)

    def share(self) -> float:
        """Of the window, 0 to 1."""
        self._forget()
        settled = self._good + self._dead
        return self._dead / settled if settled else 0.0

    def _add(self, good: int, dead: int) -> None:
        self._settled.append((self._clock.monotonic_s(), good, dead))
        self._good += good
        self._dead += dead
        self._forget()

    def _forget(self) -> None:
        oldest_s = self._clock.monotonic_s() - self._limits.window_s
        while self._settled and self._settled[0][0] < oldest_s:
            _at_s, good, dead = self._settled.popleft()
            self._good -= good
            self._dead -= dead
