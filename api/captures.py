"""The switch that stops the captures of all users, and how they stand.

    switch = CaptureSwitch(pool, clock)
    await switch.stop("the site asks for a pause")
    await switch.start()

Workers read it before every try.
Errors: `InvalidError` (`invalid_reason`), else asyncpg's and `TimeoutError`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from api.database import read_rows, transaction
from runtime.clock import Clock, utc_now
from runtime.errors import InvalidError
from runtime.postgres import Pool
from runtime.sql import load_queries

REASON_MAX_CHARS: Final = 200

_QUERIES: Final = load_queries("api", "captures.sql")


@dataclass(frozen=True, slots=True)
class CaptureState:
    """`reason` is set when stopped. `changed_at` of the switch, None if somebody has removed it."""

    stopped: bool
    reason: str | None
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class CaptureUsers:
    """Users who have agreed to captures, and how many of them get none, and why."""

    consented: int
    stopped: int
    without_session: int
    expired: int


class CaptureSwitch:
    """One for the whole group. Setting what is set changes nothing."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def stop(self, reason: str) -> None:
        """No try begins any more; what waits is skipped. The reason is for people."""
        if not 0 < len(reason.strip()) <= REASON_MAX_CHARS or not reason.isprintable():
            raise InvalidError("invalid_reason", f"1 to {REASON_MAX_CHARS} printable characters")
        await self._put(reason.strip(), stopped=True)

    async def start(self) -> None:
        """Captures asked for from now on are taken again; those skipped meanwhile stay skipped."""
        await self._put(None, stopped=False)

    async def state(self) -> CaptureState:
        [row] = await read_rows(self._pool, _QUERIES["read_switch"])
        return CaptureState(**row)

    async def users(self) -> CaptureUsers:
        [row] = await read_rows(self._pool, _QUERIES["count_users"])
        return CaptureUsers(**row)

    async def _put(self, reason: str | None, *, stopped: bool) -> None:
        async with transaction(self._pool) as connection:
            await connection.execute(_QUERIES["put_switch"], stopped, reason, utc_now(self._clock))
