"""Which months need partitions."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from sinks.partitions import KnownPartitions, month_of, next_month

MARCH, APRIL, MAY = date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 3, 31, 23, 59, 59, 999999, UTC), MARCH),
        (datetime(2026, 4, 1, tzinfo=UTC), APRIL),
        (datetime(2026, 4, 1, 1, tzinfo=timezone(timedelta(hours=2))), MARCH),
        (datetime(2024, 2, 29, tzinfo=UTC), date(2024, 2, 1)),
    ],
)
def test_a_moment_belongs_to_its_month_in_utc(moment: datetime, expected: date) -> None:
    """Whatever zone the moment is written in."""
    assert month_of(moment) == expected


@pytest.mark.parametrize(
    ("month", "expected"),
    [(MARCH, APRIL), (date(2026, 11, 1), date(2026, 12, 1)), (date(2026, 12, 1), date(2027, 1, 1))],
)
def test_the_next_month_may_be_in_the_next_year(month: date, expected: date) -> None:
    """December is followed by January."""
    assert next_month(month) == expected


def test_every_month_met_and_the_one_after_it_are_missing_at_first() -> None:
    """The next month is made ahead, so that midnight of the first is like any other."""
    known = KnownPartitions()
    moments = [datetime(2026, 4, 2, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)]
    assert known.missing(moments) == [MARCH, APRIL, MAY]


def test_what_is_in_place_is_not_asked_for_again() -> None:
    """Only new months are missing, and in order: sessions that make several never wait in a ring."""
    known = KnownPartitions()
    known.add([MARCH, APRIL])
    assert known.missing([datetime(2026, 3, 9, tzinfo=UTC)]) == []
    assert known.missing([datetime(2026, 4, 9, tzinfo=UTC)]) == [MAY]
    assert known.missing([]) == []
