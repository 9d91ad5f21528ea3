"""Ranges of the id for which `signals` and `audit_logs` have partitions.

All ranges are whole days in UTC, whatever their width, so a day is what is asked for and remembered.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from runtime.postgres import Pool
from runtime.sql import load_queries
from schemas.plans import PLAN_TERMS

_QUERIES: Final = load_queries("sinks", "partitions.sql")


class PartitionWidth(StrEnum):
    MONTH = "month"
    WEEK = "week"
    DAY = "day"


AHEAD_DAYS: Final[Mapping[PartitionWidth, int]] = {
    # the shortest two months: no more than what the database agrees to make
    PartitionWidth.MONTH: 59,
    PartitionWidth.WEEK: 14,
    PartitionWidth.DAY: 2,
}
"""Two widths."""

LONGEST_KEPT_DAYS: Final = max(terms.signals_kept_days for terms in PLAN_TERMS.values())


def day_of(moment: datetime) -> date:
    """The day in UTC."""
    return moment.astimezone(UTC).date()


def days_ahead(now: datetime, width: PartitionWidth) -> list[date]:
    """Today and the days of the two widths that follow.

    Each of them, since a partition cut short by a neighbour of another width does not reach to its end.
    """
    today = day_of(now)
    return [today + timedelta(days=offset) for offset in range(AHEAD_DAYS[width] + 1)]


class KnownPartitions:
    """Remembers which days are in place, so that a batch asks the database only for new ones."""

    def __init__(self) -> None:
        self._days: set[date] = set()

    def missing(self, moments: Iterable[datetime]) -> list[date]:
        """The days of these moments that are not known to be in place, in order."""
        return sorted({day_of(moment) for moment in moments} - self._days)

    def add(self, days: Iterable[date]) -> None:
        self._days.update(days)

    def clear(self) -> None:
        """For when a row found no partition: somebody has removed one that was in place."""
        self._days.clear()


class Partitions:
    """Makes partitions ahead of the rows that will need them. Errors are asyncpg's."""

    def __init__(self, pool: Pool, width: PartitionWidth) -> None:
        self._pool = pool
        self._width = width

    async def ensure(self, now: datetime) -> list[str]:
        """Returns the names of what was made; several processes may call it at once.

        Waits at most 2 s for each lock. Nobody who reads or writes rows waits for it.
        """
        await self._pool.execute(_QUERIES["configure_partitions"], self._width.value, LONGEST_KEPT_DAYS)
        rows = await self._pool.fetch(_QUERIES["ensure_days"], days_ahead(now, self._width))
        return [row["made"] for row in rows]
