"""What the database says of accepted alerts and their users. Only reads."""

from collections.abc import Collection, Sequence
from typing import Final, Protocol
from uuid import UUID

from runtime.errors import FatalError
from runtime.postgres import Pool
from runtime.sql import load_queries
from schemas.plans import Plan
from schemas.records import Disposition
from sinks.reconcile import UserState

_QUERIES: Final = load_queries("sinks", "reconcile.sql")


class OutcomeStore(Protocol):
    """Where alerts end up."""

    async def dispositions(self, signal_ids: Sequence[UUID]) -> dict[UUID, Disposition]:
        """Those that are in the store; the ids come in their order."""
        ...

    async def users(self, user_ids: Collection[UUID]) -> dict[UUID, UserState]: ...


class PostgresOutcomes:
    """Errors are asyncpg's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def check(self) -> None:
        """Raises `FatalError` for a role that does not see the rows of all tenants: all would be missing."""
        if not await self._pool.fetchval(_QUERIES["sees_every_tenant"]):
            raise FatalError(
                "the role in DATABASE_URL does not see the rows of all tenants;"
                " use one of alerts_platform_reader, or the tables' owner"
            )

    async def dispositions(self, signal_ids: Sequence[UUID]) -> dict[UUID, Disposition]:
        # the bounds let the planner leave out partitions
        rows = await self._pool.fetch(_QUERIES["dispositions"], signal_ids, signal_ids[0], signal_ids[-1])
        return {row["id"]: Disposition(row["disposition"]) for row in rows}

    async def users(self, user_ids: Collection[UUID]) -> dict[UUID, UserState]:
        rows = await self._pool.fetch(_QUERIES["users"], list(user_ids))
        return {row["id"]: UserState(Plan(row["plan"]), row["deleted"]) for row in rows}
