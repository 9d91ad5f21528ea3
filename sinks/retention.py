"""What the plans no longer keep is deleted: whole partitions at the longest plan, rows before that.

Rows go by the plan that their user has now, so that a plan change counts from the next run on. Refused calls
have no plan: they go with their partition.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from runtime.clock import Clock, utc_now
from runtime.errors import TransientError
from runtime.ids import lowest_id_at
from runtime.pacer import Pacer
from runtime.postgres import Connection, Pool, rows_of
from runtime.sql import load_queries
from schemas.plans import PLAN_TERMS, Plan
from sinks.partitions import LONGEST_KEPT_DAYS
from sinks.retirement import due_partitions, retire_partitions

LOCK_KEY: Final = 7_281_445_022
"""Advisory lock: of all processes one deletes at a time."""
BATCH: Final = 1_000
ROWS_PER_S: Final = 10_000.0
SCAN_TIMEOUT_S: Final = 300.0
CLOCK_TOLERANCE: Final = timedelta(minutes=10)
DROP_MARGIN: Final = timedelta(days=2)
"""More than the day for which the database still makes partitions: no row comes to one that is dropped."""

_QUERIES: Final = load_queries("sinks", "retention.sql")


class OwnerNeededError(TransientError):
    """Nobody but the owner of a table may detach its partitions."""


class ClockDisagreesError(TransientError):
    """Nothing is deleted by a clock that may be wrong."""


def expires_before(plan: Plan, now: datetime) -> datetime:
    """Signals received earlier are kept no longer."""
    return now - timedelta(days=PLAN_TERMS[plan].signals_kept_days)


def is_expired(received_at: datetime, plan: Plan, now: datetime) -> bool:
    """Whether retention would delete the signal at once."""
    return received_at < expires_before(plan, now)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is due: ids below the bound of the user's plan, partitions below `all_before`."""

    plans: list[str]
    due_before: list[UUID]
    all_before: UUID

    @classmethod
    def at(cls, now: datetime) -> "Terms":
        bounds = [_lowest_id(expires_before(plan, now)) for plan in Plan]
        longest = now - timedelta(days=LONGEST_KEPT_DAYS) - DROP_MARGIN
        return cls([plan.value for plan in Plan], bounds, _lowest_id(longest))


@dataclass(frozen=True, slots=True)
class Retained:
    """What a run has removed: names of partitions, numbers of rows by table. `in_use` is left to the next."""

    partitions: list[str]
    in_use: list[str]
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DueRows:
    table: str
    plan: str
    rows: int


@dataclass(frozen=True, slots=True)
class Due:
    """What a run would remove. Partitions with the estimated number of their rows, -1: unknown."""

    partitions: Mapping[str, int]
    rows: list[DueRows]


class Retention:
    """Runs on a connection of the tables' owner. Errors are asyncpg's and those above.

    Every batch is a transaction of its own; a run that is cut short is continued by the next.
    """

    def __init__(
        self, pool: Pool, clock: Clock, on_deleted: Callable[[int], None] = lambda _rows: None
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._on_deleted = on_deleted

    async def run(self) -> Retained | None:
        """Remove what is due, some 10,000 rows a second; None when another process is at it.

        Partitions in use, by a dump for instance, stay for the next run; nobody waits for them or for us.
        """
        # lock and settings are undone when the connection goes back to the pool
        async with self._pool.acquire() as connection:
            if not await connection.fetchval(_QUERIES["try_retention_lock"], LOCK_KEY):
                return None
            terms = await self._agreed_terms(connection)
            retired = await retire_partitions(connection, terms.all_before)
            pacer = Pacer(ROWS_PER_S, self._clock)
            rows = Counter(
                signals=await self._delete_due(connection, pacer, "signals", terms),
                audit_logs=await self._delete_due(connection, pacer, "audit_logs", terms),
                # of signals that went with their partition
                signal_screenshots=await self._delete(
                    connection, pacer, "delete_old_links", terms.all_before
                ),
            )
        return Retained(retired.dropped, retired.in_use, rows)

    async def due(self) -> Due:
        """What `run` would remove now. Reads every row that is due."""
        async with self._pool.acquire() as connection:
            terms = await self._agreed_terms(connection)
            partitions = await due_partitions(connection, terms.all_before)
            rows = [
                due
                for table in ("signals", "audit_logs")
                for due in await _count_due(connection, table, terms, _end_of(partitions, table))
            ]
        return Due({row["name"]: row["about_rows"] for row in partitions}, rows)

    async def _agreed_terms(self, connection: Connection) -> Terms:
        state = await connection.fetchrow(_QUERIES["retention_state"])
        now = utc_now(self._clock)
        if state is None or abs(state["now"] - now) > CLOCK_TOLERANCE:
            raise ClockDisagreesError(
                "the clocks of this machine and of the database are more than 10 min apart"
            )
        if not state["is_owner"]:
            raise OwnerNeededError("retention must run as the owner of the tables: set SINK_OWNER_URL")
        return Terms.at(now)

    async def _delete_due(self, connection: Connection, pacer: Pacer, table: str, terms: Terms) -> int:
        bounds = (terms.plans, terms.due_before)
        users = await connection.fetch(_QUERIES[f"users_with_due_{table}"], *bounds, timeout=SCAN_TIMEOUT_S)
        query = f"delete_due_{table}"
        return sum([await self._delete(connection, pacer, query, *bounds, row["id"]) for row in users])

    async def _delete(self, connection: Connection, pacer: Pacer, query: str, *arguments: object) -> int:
        total, deleted = 0, BATCH
        while deleted == BATCH:
            status = await connection.execute(_QUERIES[query], *arguments, BATCH)
            deleted = rows_of(status)
            total += deleted
            self._on_deleted(deleted)
            await pacer.until_turn(deleted)
        return total


async def _count_due(connection: Connection, table: str, terms: Terms, first: UUID) -> list[DueRows]:
    rows = await connection.fetch(
        _QUERIES[f"count_due_{table}"], terms.plans, terms.due_before, first, timeout=SCAN_TIMEOUT_S
    )
    return [DueRows(table, row["plan"], row["rows"]) for row in rows]


def _end_of(partitions: list[Any], table: str) -> UUID:
    """Rows below it go with their partitions."""
    return max((row["upper_id"] for row in partitions if row["parent"] == table), default=UUID(int=0))


def _lowest_id(moment: datetime) -> UUID:
    return lowest_id_at(round(moment.timestamp() * 1000))
