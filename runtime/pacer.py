"""Holds a stream of records to a rate."""

from runtime.clock import Clock


class Pacer:
    """Lets so many records a second pass, evenly. Time in which none came is not saved up."""

    def __init__(self, rate_per_s: float, clock: Clock) -> None:
        self._rate_per_s = rate_per_s
        self._clock = clock
        self._free_at_s = clock.monotonic_s()

    def records_in(self, seconds: float) -> int:
        """How many may pass at once without more than `seconds` of the rate; at least one."""
        return max(1, int(self._rate_per_s * seconds))

    async def until_turn(self, records: int) -> None:
        """Returns when those before have had their time."""
        now_s = self._clock.monotonic_s()
        turn_s = max(now_s, self._free_at_s)
        self._free_at_s = turn_s + records / self._rate_per_s
        if turn_s > now_s:
            await self._clock.sleep(turn_s - now_s)
