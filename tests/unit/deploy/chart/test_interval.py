from datetime import UTC, datetime

import pytest

from deploy.local.chart.interval import interval_or_default, parse_interval
from runtime.clock import utc_from_ms

_NOW_MS = 1_767_607_265_123  # 2026-01-05 10:01:05.123 UTC, a Monday


@pytest.mark.parametrize(
    ("code", "start", "words"),
    [
        ("1", datetime(2026, 1, 5, 10, 1, tzinfo=UTC), "1 minute"),
        ("15", datetime(2026, 1, 5, 10, 0, tzinfo=UTC), "15 minutes"),
        ("60", datetime(2026, 1, 5, 10, 0, tzinfo=UTC), "1 hour"),
        ("240", datetime(2026, 1, 5, 8, 0, tzinfo=UTC), "4 hours"),
        ("S", datetime(2026, 1, 5, 10, 1, 5, tzinfo=UTC), "1 second"),
        ("10S", datetime(2026, 1, 5, 10, 1, 0, tzinfo=UTC), "10 seconds"),
        ("D", datetime(2026, 1, 5, tzinfo=UTC), "1 day"),
        ("1D", datetime(2026, 1, 5, tzinfo=UTC), "1 day"),
        ("W", datetime(2026, 1, 5, tzinfo=UTC), "1 week"),
        ("M", datetime(2026, 1, 1, tzinfo=UTC), "1 month"),
        ("3M", datetime(2026, 1, 1, tzinfo=UTC), "3 months"),
        ("12M", datetime(2026, 1, 1, tzinfo=UTC), "12 months"),
    ],
)
def test_codes_name_bars(code: str, start: datetime, words: str) -> None:
    """A code says how long a bar is and where it starts: weeks on Monday, months on the first."""
    interval = parse_interval(code)
    assert interval is not None
    assert utc_from_ms(interval.start_ms(interval.index_at(_NOW_MS))) == start
    assert interval.words == words
    assert interval.code == code


def test_fifteen_m_is_fifteen_months_and_no_interval_here() -> None:
    """The classic trap: `15M` does not mean minutes, and more than a year is not offered."""
    assert parse_interval("15M") is None


@pytest.mark.parametrize("code", ["1", "7", "D", "W", "2W", "M", "5M", "30S"])
def test_bars_follow_each_other_without_gap(code: str) -> None:
    """Every moment lies in exactly one bar, and the next bar starts where it ends."""
    interval = interval_or_default(code)
    index = interval.index_at(_NOW_MS)
    end_ms = interval.start_ms(index + 1)
    assert interval.start_ms(index) <= _NOW_MS < end_ms
    assert interval.index_at(end_ms - 1) == index
    assert interval.index_at(end_ms) == index + 1


@pytest.mark.parametrize("code", ["", "0", "1H", "d", "-1", "1.5", "99999", "1441", "١"])
def test_unknown_codes_give_the_layouts_own_interval(code: str) -> None:
    """As on the real site, which then shows another interval than asked for."""
    assert parse_interval(code) is None
    assert interval_or_default(code).code == "60"
