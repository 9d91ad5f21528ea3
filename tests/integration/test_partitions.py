"""Partitions made on a real server, ahead of time and when a row needs one."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from alembic import command

from deploy.local.postgres import PostgresCluster
from runtime.errors import Failure, classify
from runtime.postgres import Pool
from schemas.records import RefusedCalls
from sinks.migrate import migrate
from sinks.partitions import LONGEST_KEPT_DAYS, Partitions, PartitionWidth, days_ahead
from sinks.refusals import RefusalStore
from tests.support.partitions import TABLES, Range, connected, day_before, id_at, now, opened, ranges

MONTH, WEEK, DAY = PartitionWidth
SIGNALS = "signals"


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with opened(database_url) as pool:
        yield pool


async def ensure(
    pool: Pool, moment: datetime, width: PartitionWidth = MONTH, table: str = SIGNALS
) -> list[str]:
    await pool.execute("UPDATE partition_settings SET width = $1", width.value)
    made: list[str] = await pool.fetchval("SELECT ensure_partition($1::text::regclass, $2)", table, moment)
    return made


def covered_days(covered: list[Range]) -> set[date]:
    return {
        (each.lower + timedelta(days=offset)).date()
        for each in covered
        for offset in range((each.upper - each.lower).days)
    }


def gaps(covered: list[Range]) -> list[tuple[str, str]]:
    """Neighbours that do not touch."""
    return [(one.name, next_.name) for one, next_ in pairwise(covered) if one.upper != next_.lower]


@pytest.mark.parametrize("width", PartitionWidth)
async def test_a_new_database_has_partitions_two_widths_ahead(pool: Pool, width: PartitionWidth) -> None:
    """Of both tables, without gaps; asking again makes nothing."""
    partitions = Partitions(pool, width)
    made = await partitions.ensure(now())
    covered = {table: await ranges(pool, table) for table in TABLES}
    assert {each.name for table in TABLES for each in covered[table]} == set(made)
    for table in TABLES:
        assert covered_days(covered[table]) >= set(days_ahead(now(), width))
        assert gaps(covered[table]) == []
    assert await partitions.ensure(now()) == []


async def test_the_last_width_asked_for_is_that_of_new_partitions(pool: Pool) -> None:
    """Those there already stay, and the new ones begin where they end."""
    await Partitions(pool, DAY).ensure(now())
    days = await ranges(pool, SIGNALS)
    await Partitions(pool, WEEK).ensure(now())
    weeks = await ranges(pool, SIGNALS)
    await Partitions(pool, MONTH).ensure(now())
    months = await ranges(pool, SIGNALS)
    assert set(days) < set(weeks) < set(months)
    assert gaps(months) == []
    assert covered_days(months) >= set(days_ahead(now(), MONTH))


async def test_a_month_is_completed_around_what_is_there(pool: Pool) -> None:
    """A day in the middle, a week beside it: the month's partitions fill what is left, and never overlap."""
    first = day_before(200).replace(day=1)
    assert await ensure(pool, first + timedelta(days=12), DAY) == [
        f"signals_{first + timedelta(days=12):%Y_%m_%d}"
    ]
    await ensure(pool, first + timedelta(days=13), WEEK)
    await ensure(pool, first, MONTH)
    await ensure(pool, first + timedelta(days=27), MONTH)
    covered = await ranges(pool, SIGNALS)
    assert gaps(covered) == []
    assert covered[0].lower == first
    assert covered[-1].upper == (first + timedelta(days=31)).replace(day=1)
    assert await ensure(pool, first + timedelta(days=20), DAY) == []


async def test_a_partition_that_ends_within_a_day_is_respected(pool: Pool) -> None:
    """The rest of the day gets a partition of its own."""
    noon = day_before(200) + timedelta(hours=12)
    await pool.execute(
        "CREATE TABLE mine PARTITION OF signals "
        f"FOR VALUES FROM ('{id_at(day_before(201))}') TO ('{id_at(noon)}')"
    )
    await ensure(pool, noon, DAY)
    assert await ensure(pool, noon, MONTH) == []
    assert [(each.lower, each.upper) for each in await ranges(pool, SIGNALS)] == [
        (day_before(201), noon),
        (noon, day_before(199)),
    ]


async def test_sessions_may_ensure_at_once(pool: Pool) -> None:
    """Whatever their order of tables and days, nobody fails and nothing is made twice."""
    days: list[datetime] = []
    for offset, width in enumerate((DAY, WEEK, MONTH)):
        days = [day_before(age - 7 * offset) for age in (40, 130, 220, 310)]
        await pool.execute("UPDATE partition_settings SET width = $1", width.value)
        await asyncio.gather(
            *(
                pool.fetch(
                    "SELECT ensure_partition(name::regclass, day) "
                    "FROM unnest($1::date[]) AS day, unnest($2::text[]) AS name",
                    days[:: 1 - 2 * (session % 2)],
                    TABLES[:: 1 - session % 4 // 2 * 2],
                )
                for session in range(8)
            )
        )
    for table in TABLES:
        covered = await ranges(pool, table)
        assert covered_days(covered) >= {day.date() for day in days}
        assert all(one.upper <= next_.lower for one, next_ in pairwise(covered))


async def test_a_row_without_a_partition_gets_one(pool: Pool) -> None:
    """The sink stores a call of half a year ago, whatever the width is now."""
    await pool.execute("UPDATE partition_settings SET width = 'week'")
    moment = day_before(180)
    calls = RefusedCalls(id_at(moment), "192.0.2.1", "not_found", 404, 1, first_at=moment, last_at=moment)
    assert await RefusalStore(pool).insert([calls]) == 1


@pytest.mark.parametrize("days", [LONGEST_KEPT_DAYS + 3, -70, -100_000])
async def test_a_day_no_row_can_rightly_have_is_an_error_of_the_data(pool: Pool, days: int) -> None:
    """A wrong id becomes a dead letter, not a partition."""
    with pytest.raises(asyncpg.DataError) as caught:
        await ensure(pool, now() - timedelta(days=days))
    assert classify(caught.value) is Failure.INVALID
    assert await ranges(pool, SIGNALS) == []


async def test_an_old_day_is_no_error_while_its_partition_is_there(pool: Pool) -> None:
    """What is made already needs no leave."""
    old = day_before(LONGEST_KEPT_DAYS + 100)
    upper = id_at(old + timedelta(days=1))
    await pool.execute(
        f"CREATE TABLE old PARTITION OF signals FOR VALUES FROM ('{id_at(old)}') TO ('{upper}')"
    )
    assert await ensure(pool, old) == []


async def test_the_oldest_day_kept_can_be_made(pool: Pool) -> None:
    """The last signal of the longest plan still finds a place."""
    assert len(await ensure(pool, now() - timedelta(days=LONGEST_KEPT_DAYS), DAY)) == 1


async def test_the_database_keeps_as_long_as_the_longest_plan(pool: Pool) -> None:
    """From the migration on, before any sink has said so; a sink corrects it."""
    assert await pool.fetchval("SELECT kept_days FROM partition_settings") == LONGEST_KEPT_DAYS
    await pool.execute("UPDATE partition_settings SET kept_days = 5")
    await Partitions(pool, DAY).ensure(now())
    assert tuple(await pool.fetchrow("SELECT * FROM partition_settings") or ()) == (
        True,
        "day",
        LONGEST_KEPT_DAYS,
    )


async def test_a_role_without_rights_on_the_tables_gets_partitions_it_may_not_drop(
    pool: Pool, database_url: str
) -> None:
    """Whoever may call the function; a table of its own by a name that is used in it changes nothing."""
    role = f"maker_{secrets.token_hex(4)}"
    await pool.execute(f"CREATE ROLE {role}")
    try:
        async with connected(database_url) as maker, maker.transaction():
            await maker.execute(f"SET LOCAL ROLE {role}")
            await maker.execute(
                "CREATE TEMP TABLE partition_settings AS SELECT true AS row, 'day' AS width, 9 AS days"
            )
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with maker.transaction():
                    await maker.execute("SELECT ensure_partition('signals', now()::date)")
            await maker.execute("RESET ROLE")
            await maker.execute(f"GRANT EXECUTE ON FUNCTION ensure_partition(regclass, date) TO {role}")
            await maker.execute(f"SET LOCAL ROLE {role}")
            (name,) = await maker.fetchval("SELECT ensure_partition('signals', now()::date)")
            assert name == f"signals_{now():%Y_%m}"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with maker.transaction():
                    await maker.execute(f"DROP TABLE {name}")
            await maker.execute("RESET ROLE; DROP TABLE pg_temp.partition_settings")
            await maker.execute(f"REVOKE ALL ON FUNCTION ensure_partition(regclass, date) FROM {role}")
    finally:
        await pool.execute(f"DROP ROLE {role}")


async def test_no_other_table_gets_partitions(pool: Pool) -> None:
    """The function runs with its owner's rights, so it makes only what it is for."""
    await pool.execute("CREATE TABLE other (id uuid) PARTITION BY RANGE (id)")
    with pytest.raises(asyncpg.WrongObjectTypeError):
        await ensure(pool, now(), table="other")


async def test_a_partition_made_but_not_attached_is_picked_up(pool: Pool) -> None:
    """An empty table that is in the way is what somebody left unfinished."""
    name = f"signals_{day_before(200):%Y_%m_%d}"
    await pool.execute(f"CREATE TABLE {name} (unfinished text)")
    assert await ensure(pool, day_before(200), DAY) == [name]
    assert [each.name for each in await ranges(pool, SIGNALS)] == [name]


async def test_rows_that_somebody_took_out_do_not_come_back(pool: Pool) -> None:
    """A table with rows, or of another kind, keeps its name; the partition gets another one."""
    name = f"signals_{day_before(200):%Y_%m_%d}"
    await pool.execute(f"CREATE TABLE {name} AS SELECT 1 AS kept")
    await pool.execute(f"CREATE VIEW {name}_2 AS SELECT 1 AS kept")
    assert await ensure(pool, day_before(200), DAY) == [f"{name}_3"]
    assert await pool.fetchval(f"SELECT kept FROM {name}") == 1  # noqa: S608 - a name made above


async def test_a_day_that_is_being_detached_is_waited_for(pool: Pool, database_url: str) -> None:
    """An operator takes a partition out: the sink tries again, and loses nothing meanwhile."""
    (name,) = await ensure(pool, day_before(200), DAY)
    async with connected(database_url) as reader, connected(database_url) as operator:
        async with reader.transaction():
            await reader.execute("SELECT FROM signals")
            await operator.execute("SET lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await operator.execute(f"ALTER TABLE signals DETACH PARTITION {name} CONCURRENTLY")
        with pytest.raises(asyncpg.LockNotAvailableError) as caught:
            await ensure(pool, day_before(200), DAY)
        assert classify(caught.value) is Failure.TRANSIENT
        await operator.execute(f"ALTER TABLE signals DETACH PARTITION {name} FINALIZE")
    assert await ensure(pool, day_before(200), DAY) == [name]


async def test_ensuring_waits_neither_for_readers_nor_for_writers(pool: Pool, database_url: str) -> None:
    """Open transactions that read and write all tables, as a dump and a sink do, hold nothing up."""
    await ensure(pool, day_before(10), DAY)
    async with (
        connected(database_url) as reader,
        connected(database_url) as writer,
        reader.transaction(isolation="repeatable_read"),
        writer.transaction(),
    ):
        await reader.execute("LOCK TABLE signals, audit_logs IN ACCESS SHARE MODE; SELECT FROM signals")
        await writer.execute("DELETE FROM signals; DELETE FROM audit_logs")
        assert len(await Partitions(pool, WEEK).ensure(now())) >= 4


async def test_a_lock_that_is_not_to_be_had_is_given_up(pool: Pool, database_url: str) -> None:
    """Somebody changes the table: the caller is told to wait, after a short while."""
    async with connected(database_url) as operator, operator.transaction():
        await operator.execute("LOCK TABLE signals IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await ensure(pool, now())
    assert len(await ensure(pool, now())) == 1


async def test_months_made_before_this_version_stay_with_their_rows(
    postgres_server: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 0003 made months; a sink with weeks goes on beside them."""
    async with connected(postgres_server.url("postgres")) as server:
        await server.execute("CREATE DATABASE from_0003")
        try:
            url = postgres_server.url("from_0003")
            with monkeypatch.context() as patch:
                patch.setattr(command, "upgrade", partial(_upgrade_to, command.upgrade))
                await migrate(url)
            async with opened(url) as pool:
                await _check_old_months(pool, url)
        finally:
            await server.execute("DROP DATABASE from_0003 WITH (FORCE)")


def _upgrade_to(upgrade: Any, config: Any, _newest: str) -> None:
    upgrade(config, "0003")


async def _check_old_months(pool: Pool, url: str) -> None:
    month = day_before(60).replace(day=1)
    await pool.execute(
        "SELECT ensure_partition(name::regclass, $1) FROM unnest($2::text[]) AS name", month, TABLES
    )
    await pool.execute(
        "INSERT INTO audit_logs (id, received_at, client_address, outcome, status, first_at) "
        "VALUES (uuid_at($1), $1, '192.0.2.1', 'not_found', 404, $1)",
        month,
    )
    await migrate(url)
    assert (
        await pool.fetchval("SELECT tableoid::regclass::text FROM audit_logs") == f"audit_logs_{month:%Y_%m}"
    )
    end = (month + timedelta(days=31)).replace(day=1)
    assert await ensure(pool, end - timedelta(days=1), WEEK) == []
    await ensure(pool, end, WEEK)
    covered = await ranges(pool, SIGNALS)
    assert [each.lower for each in covered] == [month, end]
    assert (covered[1].upper.weekday(), covered[1].upper > end) == (0, True)
