"""Months for which the partitioned tables have partitions."""

from collections.abc import Iterable
from datetime import UTC, date, datetime


def month_of(moment: datetime) -> date:
    """The first day of the month, in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


class KnownPartitions:
    """Remembers which months are in place, so that a batch asks the database only for new ones."""

    def __init__(self) -> None:
        self._months: set[date] = set()

    def missing(self, moments: Iterable[datetime]) -> list[date]:
        """The months of these moments, and the ones after them, that are not known to be in place."""
        months = {month_of(moment) for moment in moments}
        return sorted((months | {next_month(month) for month in months}) - self._months)

    def add(self, months: Iterable[date]) -> None:
        self._months.update(months)
