"""When the month of a quota began, against the calendar."""

import asyncio
import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

ZONES = ("UTC", "America/New_York", "Pacific/Apia", "Asia/Kathmandu", "Europe/Madrid")


@dataclass(frozen=True)
class Calendar:
    """The function of the database, asked in one session after another."""

    runner: asyncio.Runner
    connection: asyncpg.Connection

    def period(self, turn: datetime, moment: datetime, zone: str = "UTC") -> datetime:
        return self.runner.run(self._ask(turn, moment, zone))

    async def _ask(self, turn: datetime, moment: datetime, zone: str) -> datetime:
        await self.connection.execute(f"SET TIME ZONE '{zone}'")
        began: datetime = await self.connection.fetchval("SELECT quota_period($1, $2)", turn, moment)
        return began


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Calendar]:
    with asyncio.Runner() as runner:
        connection = runner.run(_connect(postgres_url))
        yield Calendar(runner, connection)
        runner.run(connection.close())


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url)


def turn_in(turn: datetime, months: int) -> datetime:
    """So many months after the turn, on the last day where the month has no such day."""
    year, month = divmod(turn.year * 12 + turn.month - 1 + months, 12)
    day = min(turn.day, calendar.monthrange(year, month + 1)[1])
    return turn.replace(year=year, month=month + 1, day=day)


def expected(turn: datetime, moment: datetime) -> datetime:
    """The last turn up to the moment, of all there are."""
    months = (moment.year - turn.year) * 12
    turns = [turn_in(turn, months + offset) for offset in range(-14, 15)]
    return max(one for one in turns if one <= moment)


_FIRST, _LAST = datetime(1999, 1, 1), datetime(2051, 1, 1)  # noqa: DTZ001 - what Hypothesis wants
moments = st.datetimes(_FIRST, _LAST, timezones=st.just(UTC))
days = st.sampled_from([1, 15, 28, 29, 30, 31])
turns = st.builds(
    lambda moment, day: moment.replace(day=min(day, calendar.monthrange(moment.year, moment.month)[1])),
    moments,
    days,
)
zones = st.sampled_from(ZONES)


@given(turn=turns, moment=moments, zone=zones)
def test_a_period_began_at_the_last_turn(
    database: Calendar, turn: datetime, moment: datetime, zone: str
) -> None:
    """Before and after the anchor, in leap years, on the last days of a month, whatever the zone."""
    assert database.period(turn, moment, zone) == expected(turn, moment)


@given(turn=turns, months=st.integers(-300, 300), zone=zones)
def test_a_turn_belongs_to_the_period_it_begins(
    database: Calendar, turn: datetime, months: int, zone: str
) -> None:
    """Without a gap: the microsecond before it belongs to the period that began at the turn before."""
    begin = turn_in(turn, months)
    assert database.period(turn, begin, zone) == begin
    before = database.period(turn, begin - timedelta(microseconds=1), zone)
    assert before == turn_in(turn, months - 1)


@given(turn=turns, moment=moments, hours=st.integers(-12, 14))
def test_the_zone_in_which_a_moment_is_written_does_not_matter(
    database: Calendar, turn: datetime, moment: datetime, hours: int
) -> None:
    """The same moment has the same period."""
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert database.period(turn, elsewhere) == expected(turn, moment)


@pytest.mark.parametrize(
    ("turn", "moment", "began"),
    [
        ("2026-01-31T10:00Z", "2026-02-28T09:59Z", "2026-01-31T10:00Z"),
        ("2026-01-31T10:00Z", "2026-02-28T10:00Z", "2026-02-28T10:00Z"),
        ("2026-01-31T10:00Z", "2026-03-28T12:00Z", "2026-02-28T10:00Z"),
        ("2026-01-31T10:00Z", "2026-03-31T12:00Z", "2026-03-31T10:00Z"),
        ("2026-01-30T00:00Z", "2028-02-29T00:00Z", "2028-02-29T00:00Z"),
        ("2024-02-29T00:00Z", "2025-02-28T00:00Z", "2025-02-28T00:00Z"),
        ("2024-02-29T00:00Z", "2025-03-28T23:00Z", "2025-02-28T00:00Z"),
        ("2026-04-01T00:00Z", "2026-03-31T23:59Z", "2026-03-01T00:00Z"),
        ("2026-04-01T00:00Z", "2019-12-31T23:59Z", "2019-12-01T00:00Z"),
    ],
)
def test_turns_that_people_would_look_up(database: Calendar, turn: str, moment: str, began: str) -> None:
    """A 31st turns on the last day of a shorter month, and on the 31st again after it."""
    found = database.period(datetime.fromisoformat(turn), datetime.fromisoformat(moment))
    assert found == datetime.fromisoformat(began)
