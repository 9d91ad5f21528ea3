"""Clocks that a test moves."""

import asyncio
from typing import Final

from runtime.clock import SystemClock

START_MS: Final = 1_773_480_413_125
"""2026-03-14T09:26:53.125Z"""


class FakeClock:
    """Time that stands still until a test moves it; `sleep` ends when its time has come.

    The two clocks move together with `advance`; `set_unix_ms` steps the wall clock alone.
    """

    def __init__(self, unix_ms: int = START_MS, monotonic_s: float = 1000.0) -> None:
        self._unix_ms = unix_ms
        self._monotonic_s = monotonic_s
        self._changed = asyncio.Condition()
        self._sleepers = 0
        self.sleeps_s: list[float] = []

    def unix_ms(self) -> int:
        return self._unix_ms

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def set_unix_ms(self, unix_ms: int) -> None:
        self._unix_ms = unix_ms

    def move(self, seconds: float) -> None:
        """Let time pass without waking sleepers."""
        self._unix_ms += round(seconds * 1000)
        self._monotonic_s += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass and wake whoever has slept long enough."""
        self.move(seconds)
        async with self._changed:
            self._changed.notify_all()

    async def sleep(self, seconds: float) -> None:
        self.sleeps_s.append(seconds)
        wake_at_s = self._monotonic_s + seconds
        self._sleepers += 1
        try:
            async with self._changed:
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self._monotonic_s >= wake_at_s)
        finally:
            self._sleepers -= 1

    async def until_sleeping(self) -> None:
        """Return once somebody sleeps."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._sleepers > 0)


class EagerClock(FakeClock):
    """A fake clock on which every sleep ends at once, with the time gone by."""

    async def sleep(self, seconds: float) -> None:
        self.sleeps_s.append(seconds)
        self.move(seconds)
        await asyncio.sleep(0)


class SkewedClock(SystemClock):
    """The machine's clocks with a wall clock that is off by `offset_ms`."""

    def __init__(self, offset_ms: int) -> None:
        self.offset_ms = offset_ms

    def unix_ms(self) -> int:
        return super().unix_ms() + self.offset_ms
