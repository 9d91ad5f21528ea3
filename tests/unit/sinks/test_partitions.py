"""Which days need partitions."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from sinks.partitions import LONGEST_KEPT_DAYS, KnownPartitions, PartitionWidth, day_of, days_ahead

NOW = datetime(2026, 3, 14, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 3, 31, 23, 59, 59, 999999, UTC), date(2026, 3, 31)),
        (datetime(2026, 4, 1, tzinfo=UTC), date(2026, 4, 1)),
        (datetime(2026, 4, 1, 1, tzinfo=timezone(timedelta(hours=2))), date(2026, 3, 31)),
    ],
)
def test_a_moment_belongs_to_its_day_in_utc(moment: datetime, expected: date) -> None:
    """Whatever zone the moment is written in."""
    assert day_of(moment) == expected


@pytest.mark.parametrize(
    ("width", "last"),
    [
        (PartitionWidth.MONTH, date(2026, 5, 12)),
        (PartitionWidth.WEEK, date(2026, 3, 28)),
        (PartitionWidth.DAY, date(2026, 3, 16)),
    ],
)
def test_two_widths_ahead_are_wanted_day_by_day(width: PartitionWidth, last: date) -> None:
    """From today on, without a gap."""
    days = days_ahead(NOW, width)
    assert (days[0], days[-1]) == (date(2026, 3, 14), last)
    assert len(days) == (last - days[0]).days + 1


def test_every_day_met_is_missing_at_first() -> None:
    """Once each and in order: sessions that make several never wait in a ring."""
    later = datetime(2026, 4, 2, tzinfo=UTC)
    moments = [later, datetime(2026, 3, 2, tzinfo=UTC), later + timedelta(hours=5)]
    assert KnownPartitions().missing(moments) == [date(2026, 3, 2), date(2026, 4, 2)]


def test_what_is_in_place_is_not_asked_for_again() -> None:
    """Until it is forgotten because somebody has removed it."""
    known = KnownPartitions()
    known.add([date(2026, 3, 14)])
    assert known.missing([NOW]) == []
    assert known.missing([NOW + timedelta(minutes=1)]) == [date(2026, 3, 15)]
    assert known.missing([]) == []
    known.clear()
    assert known.missing([NOW]) == [date(2026, 3, 14)]


def test_the_longest_plan_says_when_partitions_go() -> None:
    """Two years."""
    assert LONGEST_KEPT_DAYS == 730
