from datetime import UTC, datetime

import pytest

from processors.times import read_time
from schemas.records import Warning_

MOMENT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
NAIVE = Warning_.NAIVE_TIME


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-14T09:26:53Z",
        "2026-03-14t09:26:53z",
        "2026-03-14 09:26:53Z",
        "2026-03-14T09:26:53+00:00",
        "2026-03-14T06:26:53-03:00",
        "2026-03-14T14:56:53+0530",
        "2026-03-14 10:26:53 +01:00",
        "2026-03-14 09:26:53 UTC",
        "2026-03-14 09:26:53 GMT",
        "2026-03-14T09:26:53.000Z",
        "20260314T092653Z",
        "２０２６-03-14T09:26:53Z",
        '"2026-03-14T09:26:53Z"',
        "\u200b2026-03-14T09:26:53Z\u200e",
        "1773480413",
        "1773480413000",
        "1773480413.0",
        "1.773480413E9",
        "1773480413000.0",
    ],
)
def test_one_moment_in_many_forms(text: str) -> None:
    """ISO 8601 with any offset, or Unix seconds or milliseconds by magnitude, as UTC."""
    outcome = read_time(text)
    assert (outcome.value, outcome.warning) == (MOMENT, None)
    assert outcome.value is not None
    assert outcome.value.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-14T09:26:53", MOMENT),
        ("2026-03-14 09:26", MOMENT.replace(second=0)),
        ("2026-03-14", MOMENT.replace(hour=0, minute=0, second=0)),
        ("20260314", MOMENT.replace(hour=0, minute=0, second=0)),
    ],
)
def test_without_a_zone_it_is_utc(text: str, moment: datetime) -> None:
    """And the reader says that it assumed so."""
    outcome = read_time(text)
    assert (outcome.value, outcome.warning) == (moment, NAIVE)


def test_fractions_are_kept() -> None:
    """Of seconds and of milliseconds, to the microsecond."""
    assert read_time("2026-03-14T09:26:53.125Z").value == MOMENT.replace(microsecond=125_000)
    assert read_time("1773480413125").value == MOMENT.replace(microsecond=125_000)
    assert read_time("1773480413.5").value == MOMENT.replace(microsecond=500_000)


@pytest.mark.parametrize(
    "text",
    [
        "14:30",
        "mañana",
        "14/03/2026 09:26",
        "2026-02-30T00:00:00Z",
        "2026-13-01",
        "0",
        "15",
        "-1773480413",
        "99999999999",
        "1773480413000000",
        "202603140926",
        "20260314092653",
        "0773480413000",
        "2026-03-14T25:00:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "²²²²²²²²²²²²²",
        "9" * 400,
        "1" * 5000,
        "NaN",
    ],
)
def test_what_is_unreadable_is_told(text: str) -> None:
    """Never a guess, never an exception."""
    outcome = read_time(text)
    assert (outcome.value, outcome.warning) == (None, Warning_.INVALID_TIME)
