"""Whether this machine's clock may be trusted: ids, and with them receive times, are made from it.

Kafka has no call that tells the broker's time. What tells it honestly is the ack of a record on a topic whose
`message.timestamp.type` is `LogAppendTime`: it carries the broker's clock at the append, and comes at once.
Timestamps of other records are some producer's time, some time ago, and are no witness. Where no such ack has
come, only steps of the wall clock against the monotonic one can be seen, not a clock that was always wrong.
"""

from typing import Final

from runtime.clock import Clock
from runtime.errors import TransientError

MAX_OFF_MS: Final = 120_000
BACKWARDS_MS: Final = 1_000
"""What daemons that correct a clock do without harm: ids are minted in order nevertheless."""
WITNESS_S: Final = 300.0
"""So long a broker's clock is believed: an ingress that is closed publishes little and hears no better, and a
wrong broker or a machine that slept must not keep it closed for ever."""
DISTRUST_S: Final = 60.0
"""So long a clock that was stepped is distrusted when no broker speaks for it."""


class ClockError(TransientError):
    """The clock is off, or has been stepped."""


class ClockGuard:
    """Compares the wall clock with the monotonic clock and with brokers'. For one thread.

    Sees a step only between two calls. Any call is a few comparisons.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._highest_ms = clock.unix_ms()
        self._ahead_ms = self._highest_ms - self._monotonic_ms()
        self._stepped_at_ms: float | None = None
        self._broker_ahead_ms = 0.0
        self._broker_until_ms: float | None = None

    def observe_broker(self, unix_ms: int) -> None:
        """A broker's clock, as it was within the last seconds: the append time in an ack.

        A broker that agrees ends the distrust after a step.
        """
        monotonic_ms = self._monotonic_ms()
        self._notice_step(self._clock.unix_ms(), monotonic_ms)
        self._broker_ahead_ms = unix_ms - monotonic_ms
        self._broker_until_ms = monotonic_ms + WITNESS_S * 1000
        if abs(self._ahead_ms - self._broker_ahead_ms) <= MAX_OFF_MS:
            self._trust()

    def check(self) -> None:
        """Raises `ClockError` while the clock cannot be trusted.

        That is: it is more than 2 min off a broker's; or within the last minute it was stepped, by more than
        1 s back or 2 min on, and no broker has agreed with it since.
        """
        monotonic_ms, unix_ms = self._clock.monotonic_s() * 1000, self._clock.unix_ms()
        self._notice_step(unix_ms, monotonic_ms)
        if self._is_off(monotonic_ms):
            off_s = (self._ahead_ms - self._broker_ahead_ms) / 1000
            raise ClockError(f"the clock is {off_s:.0f} s ahead of the broker's")
        if self._stepped_at_ms is not None:
            if monotonic_ms < self._stepped_at_ms + DISTRUST_S * 1000:
                raise ClockError("the clock was stepped")
            self._trust()

    def _is_off(self, monotonic_ms: float) -> bool:
        """False also when no broker was heard of late."""
        heard = self._broker_until_ms is not None and monotonic_ms < self._broker_until_ms
        return heard and abs(self._ahead_ms - self._broker_ahead_ms) > MAX_OFF_MS

    def _notice_step(self, unix_ms: int, monotonic_ms: float) -> None:
        last_ahead_ms = self._ahead_ms
        ahead_ms = unix_ms - monotonic_ms
        if unix_ms >= self._highest_ms and -BACKWARDS_MS <= ahead_ms - last_ahead_ms <= MAX_OFF_MS:
            self._ahead_ms, self._highest_ms = ahead_ms, unix_ms
            return
        was_off = self._is_off(monotonic_ms)
        self._ahead_ms = ahead_ms
        # against the highest time too: a clock that runs backwards in small steps makes no large one
        backwards = unix_ms < self._highest_ms - BACKWARDS_MS or self._ahead_ms < last_ahead_ms - BACKWARDS_MS
        if backwards or self._ahead_ms > last_ahead_ms + MAX_OFF_MS:
            # a step to where the broker is puts right what was wrong
            corrected = was_off and not self._is_off(monotonic_ms)
            self._stepped_at_ms = None if corrected else monotonic_ms
            self._highest_ms = unix_ms
        self._highest_ms = max(self._highest_ms, unix_ms)

    def _trust(self) -> None:
        self._stepped_at_ms = None
        self._highest_ms = self._clock.unix_ms()

    def _monotonic_ms(self) -> float:
        return self._clock.monotonic_s() * 1000
