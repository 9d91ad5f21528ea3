"""Time as an argument. The only module that reads the system's clocks."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol

_MOMENTS: Final = 256
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """`unix_ms` may jump with the system's clock; `monotonic_s` never runs backwards."""

    def unix_ms(self) -> int: ...

    def monotonic_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks."""

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000  # noqa: TID251 - the one place

    def monotonic_s(self) -> float:
        return time.monotonic()  # noqa: TID251 - the one place

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@lru_cache(_MOMENTS)
def utc_from_ms(unix_ms: int) -> datetime:
    """An aware UTC datetime of exactly these milliseconds."""
    return _EPOCH + timedelta(milliseconds=unix_ms)


def utc_now(clock: Clock) -> datetime:
    return utc_from_ms(clock.unix_ms())
