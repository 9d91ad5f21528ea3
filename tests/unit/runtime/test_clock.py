from datetime import UTC, datetime

import pytest

from runtime.clock import SystemClock, utc_from_ms, utc_now
from tests.support.clock import FakeClock, SkewedClock


@pytest.mark.parametrize(
    ("unix_ms", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_773_480_413_125, datetime(2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC)),
        (1_773_480_413_999, datetime(2026, 3, 14, 9, 26, 53, 999_000, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        (253_402_300_799_999, datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
    ],
)
def test_milliseconds_become_exactly_that_moment(unix_ms: int, expected: datetime) -> None:
    """No float comes between: every millisecond of the calendar is kept."""
    assert utc_from_ms(unix_ms) == expected


def test_now_is_what_the_clock_says() -> None:
    """Time comes from the argument, not from the machine."""
    clock = FakeClock(unix_ms=86_400_000)
    assert utc_now(clock) == datetime(1970, 1, 2, tzinfo=UTC)


def test_the_system_clock_counts_milliseconds_since_1970() -> None:
    """The wall clock of the machine in the unit of the protocol, and one that never runs backwards."""
    clock = SystemClock()
    before_ms = datetime.now(UTC).timestamp() * 1000  # noqa: TID251 - compared with the clock under test
    assert abs(clock.unix_ms() - before_ms) < 60_000
    assert clock.monotonic_s() <= clock.monotonic_s()


def test_a_skewed_clock_is_off_by_its_offset() -> None:
    """The tests' own clock is wrong by as much as it is told."""
    assert SkewedClock(3_600_000).unix_ms() - SystemClock().unix_ms() >= 3_599_000
