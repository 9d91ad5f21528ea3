"""A clock that a test puts forward while real work goes on."""

from runtime.clock import SystemClock


class AheadClock(SystemClock):
    """The machine's clocks, ahead by what was skipped. Sleeping takes real time."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def unix_ms(self) -> int:
        return super().unix_ms() + round(self._ahead_s * 1000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._ahead_s

    def skip(self, seconds: float) -> None:
        self._ahead_s += seconds
