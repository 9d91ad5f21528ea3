"""Signals above their tenant's quota: they wait, parked, until they are released."""

from typing import Final
from uuid import UUID

from api.database import transaction
from runtime.clock import Clock, utc_now
from runtime.errors import InvalidError
from runtime.postgres import Pool
from runtime.sql import load_queries

RELEASE_BATCH: Final = 500

_QUERIES: Final = load_queries("api", "quota.sql")


class ParkedSignals:
    """Errors: `InvalidError` (`unknown_user`), else asyncpg's and `TimeoutError`."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def count(self, user_id: UUID) -> int:
        """How many wait."""
        waiting: int | None = await self._pool.fetchval(_QUERIES["count_parked"], user_id)
        if waiting is None:
            raise InvalidError("unknown_user", str(user_id))
        return waiting

    async def release(self, user_id: UUID) -> int:
        """Release up to `RELEASE_BATCH`, the oldest first, in one transaction; returns how many. 0: no more.

        They count in the present period, whose quota bounds a tenant of strict mode. The sink announces
        them, and asks for the pictures of those that are young enough.
        """
        async with transaction(self._pool) as connection:
            usage = await connection.fetchrow(_QUERIES["lock_usage"], user_id, utc_now(self._clock))
            if usage is None:
                raise InvalidError("unknown_user", str(user_id))
            remaining = usage["remaining"]
            limit = RELEASE_BATCH if remaining is None else min(remaining, RELEASE_BATCH)
            released: int = await connection.fetchval(
                _QUERIES["release_oldest"], user_id, usage["period"], limit
            )
        return released
