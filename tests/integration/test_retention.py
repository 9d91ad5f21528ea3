"""What plans no longer keep goes, exactly, and nobody is held up by it."""

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from runtime.clock import SystemClock
from runtime.postgres import Pool
from schemas.plans import PLAN_TERMS, Plan
from sinks import retention as module
from sinks.partitions import LONGEST_KEPT_DAYS, Partitions, PartitionWidth
from sinks.retention import LOCK_KEY, ClockDisagreesError, DueRows, OwnerNeededError, Retention
from tests.support.clock import SkewedClock
from tests.support.partitions import (
    TABLES,
    connected,
    day_before,
    id_at,
    make_old_partition,
    now,
    opened,
    past_keeping,
    put_call,
    put_user,
    ranges,
)
from tests.support.waiting import eventually

MINUTE = timedelta(minutes=1)
DUMP = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with opened(database_url) as pool:
        yield pool


async def kept(pool: Pool) -> dict[str, set[UUID]]:
    queries = {
        "signals": "SELECT id FROM signals",
        "audit_logs": "SELECT id FROM audit_logs",
        "signal_screenshots": "SELECT signal_id FROM signal_screenshots",
    }
    return {table: {row[0] for row in await pool.fetch(query)} for table, query in queries.items()}


def everywhere(ids: set[UUID]) -> dict[str, set[UUID]]:
    return {"signals": ids, "audit_logs": ids, "signal_screenshots": ids}


async def put_old_rows(pool: Pool) -> dict[str, str]:
    """A partition that is due in each table, with a row, by table."""
    names = {table: await make_old_partition(pool, table) for table in TABLES}
    old = (day_before(800)).replace(day=1) + MINUTE
    await put_call(pool, await put_user(pool, Plan.PREMIUM), old)
    return names


async def test_rows_go_when_the_plan_of_their_user_keeps_them_no_longer(pool: Pool) -> None:
    """Exactly those: of each plan the one past its time, stored or parked, with its audit row and link."""
    stay, go = set(), set()
    for plan in Plan:
        user_id = await put_user(pool, plan)
        edge = past_keeping(plan)
        stay |= {await put_call(pool, user_id, edge + age) for age in (MINUTE, timedelta(days=30))}
        go |= {
            await put_call(pool, user_id, edge - MINUTE),
            await put_call(pool, user_id, edge - 2 * MINUTE, "parked"),
        }
    removed = await Retention(pool, SystemClock()).run()
    assert await kept(pool) == everywhere(stay)
    assert removed is not None
    assert (removed.partitions, removed.rows["signals"], removed.rows["audit_logs"]) == ([], 8, 8)
    assert await pool.fetchval("SELECT count(*) FROM screenshots") == len(stay | go)


async def test_a_plan_that_keeps_longer_saves_what_is_not_deleted_yet(pool: Pool) -> None:
    """The plan of today counts, not that of the row; so does one that keeps less."""
    grown, shrunk = await put_user(pool, Plan.FREE), await put_user(pool, Plan.PREMIUM)
    saved = await put_call(pool, grown, past_keeping(Plan.FREE) - MINUTE)
    await put_call(pool, shrunk, past_keeping(Plan.FREE) - 2 * MINUTE)
    await pool.execute("UPDATE users SET plan = 'pro' WHERE id = $1", grown)
    await pool.execute("UPDATE users SET plan = 'free', deleted_at = now() WHERE id = $1", shrunk)
    await Retention(pool, SystemClock()).run()
    assert await kept(pool) == everywhere({saved})


async def test_rows_of_nobody_stay_until_their_partition_goes(pool: Pool) -> None:
    """A user that is not known, and refused calls, have no plan."""
    row = await put_call(pool, await put_user(pool, Plan.FREE), past_keeping(Plan.FREE) - MINUTE)
    await pool.execute("UPDATE signals SET user_id = gen_random_uuid()")
    await pool.execute("UPDATE audit_logs SET user_id = gen_random_uuid()")
    await Retention(pool, SystemClock()).run()
    assert await kept(pool) == everywhere({row})


async def test_many_rows_go_in_many_small_transactions(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is told, oldest first, until nothing is left."""
    monkeypatch.setattr(module, "BATCH", 2)
    user_id = await put_user(pool, Plan.FREE)
    for number in range(5):
        await put_call(pool, user_id, past_keeping(Plan.FREE) - number * MINUTE - MINUTE)
    batches: list[int] = []
    await Retention(pool, SystemClock(), batches.append).run()
    assert await kept(pool) == everywhere(set())
    # of signals, of audit rows, of links that went with their signals
    assert batches == [2, 2, 1, 2, 2, 1, 0]


async def test_what_would_go_is_told_without_doing_it(pool: Pool) -> None:
    """Partitions as a whole, and rows of each plan; rows of those partitions are not told twice."""
    names = await put_old_rows(pool)
    row = await put_call(pool, await put_user(pool, Plan.BASIC), past_keeping(Plan.BASIC) - MINUTE)
    due = await Retention(pool, SystemClock()).due()
    assert set(due.partitions) == set(names.values())
    assert due.rows == [DueRows("signals", "basic", 1), DueRows("audit_logs", "basic", 1)]
    assert row in (await kept(pool))["signals"]


async def test_a_partition_that_no_plan_keeps_is_dropped_with_its_links(pool: Pool) -> None:
    """Rows without a user go with it, and the next partition stays."""
    names = await put_old_rows(pool)
    await pool.execute("UPDATE signals SET user_id = gen_random_uuid()")
    edge = day_before(LONGEST_KEPT_DAYS)
    young = await put_call(pool, await put_user(pool, Plan.PREMIUM), edge + timedelta(days=1))
    removed = await Retention(pool, SystemClock()).run()
    assert removed is not None
    assert set(removed.partitions) == set(names.values())
    assert await kept(pool) == everywhere({young})
    assert [len(await ranges(pool, table)) for table in TABLES] == [1, 1]
    assert await pool.fetchval("SELECT to_regclass($1)", names["signals"]) is None
    assert await pool.fetchval("SELECT count(*) FROM retired_partitions") == 0


async def test_one_process_at_a_time_deletes(pool: Pool, database_url: str) -> None:
    """The others go on with their own work at once."""
    await put_old_rows(pool)
    async with connected(database_url) as other:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        assert await Retention(pool, SystemClock()).run() is None
    removed = await Retention(pool, SystemClock()).run()
    assert removed is not None
    assert len(removed.partitions) == 2


@pytest.mark.parametrize("days", [-1, 1, 4000])
async def test_nothing_is_deleted_by_a_wrong_clock(pool: Pool, days: int) -> None:
    """A machine that believes it is another year would empty the store."""
    await put_old_rows(pool)
    before = await kept(pool)
    retention = Retention(pool, SkewedClock(days * 86_400_000))
    for work in (retention.run, retention.due):
        with pytest.raises(ClockDisagreesError):
            await work()
    assert await kept(pool) == before


async def test_only_the_owner_of_the_tables_can_do_it(pool: Pool, database_url: str) -> None:
    """Another role is told so, and has changed nothing."""
    role = f"nobody_{secrets.token_hex(4)}"
    await put_old_rows(pool)
    await pool.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    try:
        async with opened(database_url.replace("alerts:postgres-test-password", f"{role}:secret")) as other:
            with pytest.raises(OwnerNeededError):
                await Retention(other, SystemClock()).run()
    finally:
        await pool.execute(f"DROP ROLE {role}")
    assert [len(await ranges(pool, table)) for table in TABLES] == [1, 1]


async def test_a_partition_in_use_is_finished_by_the_next_run(pool: Pool, database_url: str) -> None:
    """A reader has it open: it is taken from the table at once and dropped when the reader has gone."""
    names = await put_old_rows(pool)
    async with connected(database_url) as reader, reader.transaction():
        await reader.execute("SELECT FROM signals")
        first = await Retention(pool, SystemClock()).run()
        assert first is not None
        assert (first.partitions, first.in_use) == ([names["audit_logs"]], [names["signals"]])
        assert (await kept(pool))["signals"] == set()
    second = await Retention(pool, SystemClock()).run()
    assert second is not None
    assert second.partitions == [names["signals"]]
    assert await ranges(pool, "signals") == []


async def test_a_run_that_is_killed_while_it_detaches_is_finished_by_the_next(
    pool: Pool, database_url: str
) -> None:
    """The connection is cut while it waits for a reader: half detached, and nothing forgotten."""
    names = await put_old_rows(pool)
    async with connected(database_url) as reader, connected(database_url) as killer:
        async with reader.transaction():
            await reader.execute("SELECT FROM signals, audit_logs")
            running = asyncio.create_task(Retention(pool, SystemClock()).run())

            async def kill() -> bool:
                killed = await killer.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock' "
                    "AND query ~ 'CONCURRENTLY'"
                )
                return bool(killed)

            await eventually(kill)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await running
        assert await killer.fetchval("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 1
    removed = await Retention(pool, SystemClock()).run()
    assert removed is not None
    assert set(removed.partitions) == set(names.values())
    assert await pool.fetchval("SELECT count(*) FROM retired_partitions") == 0


async def test_what_was_detached_and_not_dropped_is_dropped(pool: Pool) -> None:
    """A crash between the two, and one right after the drop; a table of nobody's list stays."""
    names = await put_old_rows(pool)
    await pool.execute(f"ALTER TABLE signals DETACH PARTITION {names['signals']}")
    await pool.execute(f"ALTER TABLE audit_logs DETACH PARTITION {names['audit_logs']}")
    await pool.execute("INSERT INTO retired_partitions VALUES ($1), ('gone')", names["signals"])
    removed = await Retention(pool, SystemClock()).run()
    assert removed is not None
    assert set(removed.partitions) == {names["signals"], "gone"}
    assert await pool.fetchval("SELECT to_regclass($1)", names["signals"]) is None
    assert await pool.fetchval("SELECT to_regclass($1)", names["audit_logs"]) is not None
    assert await pool.fetchval("SELECT count(*) FROM retired_partitions") == 0


async def test_what_is_noted_and_still_attached_is_not_dropped(pool: Pool) -> None:
    """A run that was cut short before it began on a partition, or one that is not due after all."""
    await put_call(pool, await put_user(pool, Plan.PREMIUM), now())
    (young,) = [each.name for each in await ranges(pool, "signals")]
    await pool.execute("INSERT INTO retired_partitions VALUES ($1)", young)
    removed = await Retention(pool, SystemClock()).run()
    assert removed is not None
    assert removed.partitions == []
    assert await pool.fetchval("SELECT count(*) FROM retired_partitions") == 0


async def test_a_partition_half_detached_by_hand_holds_back_only_its_table(
    pool: Pool, database_url: str
) -> None:
    """The operator must finish it; rows and the other table go on."""
    names = await put_old_rows(pool)
    row = await put_call(pool, await put_user(pool, Plan.PREMIUM), now())
    (young,) = [each.name for each in await ranges(pool, "signals") if each.name != names["signals"]]
    async with (
        connected(database_url) as reader,
        connected(database_url) as operator,
        reader.transaction(),
    ):
        await reader.execute("SELECT FROM signals")
        await operator.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await operator.execute(f"ALTER TABLE signals DETACH PARTITION {young} CONCURRENTLY")
    removed = await Retention(pool, SystemClock()).run()
    assert removed is not None
    assert (removed.partitions, removed.in_use) == ([names["audit_logs"]], [names["signals"]])
    assert await pool.fetchval(f"SELECT id FROM {young}") == row  # noqa: S608 - a name from above


@contextmanager
def held_dump(url: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real `pg_dump` whose reader has stopped: it keeps its locks until its output is read."""
    with output.open("wb") as file:
        dump = subprocess.Popen([DUMP, "--format=plain", url], stdout=subprocess.PIPE)
        try:
            yield dump
            assert dump.stdout is not None
            file.write(dump.stdout.read())
            assert dump.wait(60) == 0
        finally:
            dump.kill()
            dump.communicate()


async def fill(pool: Pool) -> None:
    """More than what fits between a dump and a reader that does not read."""
    await pool.execute("CREATE TABLE ballast AS SELECT repeat('x', 1000000) FROM generate_series(1, 40)")


async def until_locked(pool: Pool, names: list[str]) -> None:
    async def all_locked() -> bool:
        locked: int = await pool.fetchval(
            "SELECT count(DISTINCT relation) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE application_name = 'pg_dump' AND relation = ANY($1::text[]::regclass[]) "
            "AND query ~ '^COPY'",
            names,
        )
        return locked == len(names)

    await eventually(all_locked)


async def insert_without_waiting(pool: Pool, user_id: UUID, stop: asyncio.Event) -> int:
    """As the sink does, again and again; fails when it would have to wait for a lock."""
    count = 0
    while not stop.is_set() or count == 0:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '200ms'")
            await connection.execute(
                "INSERT INTO audit_logs (id, user_id, received_at, client_address, user_agent, content_type, "
                "body_bytes, lane, outcome) "
                "VALUES ($1, $2, now(), '192.0.2.1', 'agent', 'text/plain', 5, 'main', 'accepted')",
                id_at(now() + count * timedelta(milliseconds=1)),
                user_id,
            )
            await connection.fetch("SELECT id FROM signals WHERE user_id = $1", user_id)
        count += 1
    return count


async def test_neither_rows_nor_readers_wait_beside_a_running_dump(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    """Partitions are made and retention runs while a dump is open; what it holds is dropped after it."""
    names = await put_old_rows(pool)
    user_id = await put_user(pool, Plan.PREMIUM)
    due = await put_call(pool, await put_user(pool, Plan.FREE), past_keeping(Plan.FREE) - MINUTE)
    await Partitions(pool, PartitionWidth.DAY).ensure(now())
    await fill(pool)
    output = tmp_path / "dump.sql"
    stop = asyncio.Event()
    with held_dump(database_url, output):
        await until_locked(pool, [*TABLES, *names.values()])
        inserting = asyncio.create_task(insert_without_waiting(pool, user_id, stop))
        try:
            made = await Partitions(pool, PartitionWidth.WEEK).ensure(now())
            beside = await Retention(pool, SystemClock()).run()
            again = await Retention(pool, SystemClock()).run()
        finally:
            stop.set()
            assert await inserting > 0
        held = await kept(pool)
    after = await Retention(pool, SystemClock()).run()
    assert made
    assert (beside and beside.partitions, again and again.partitions) == ([], [])
    assert due not in held["signals"]
    assert after is not None
    assert set(after.partitions) == set(names.values())
    dumped = output.read_text()
    assert str(due) in dumped
    assert all(f"ATTACH PARTITION public.{name} " in dumped for name in names.values())


# of users in turn, a second apart, up to a moment
_MANY = {
    "signals": """
        INSERT INTO signals (id, user_id, plan, "timestamp", delayed, fields, message, parse_status, warnings,
                             source_format, parse_revision, lane, screenshot_status, capture_by)
        SELECT uuid_at(moment), ($1::uuid[])[1 + n % 30], 'free', moment, false, '{}', '', 'partial', '{}',
               'json', 1, 'main', 'pending', moment
        FROM generate_series(1, 6000) AS n,
             date_trunc('second', $2::timestamptz - n * interval '1 second') AS moment""",
    "audit_logs": """
        INSERT INTO audit_logs (id, user_id, received_at, client_address, user_agent, content_type,
                                body_bytes, lane, outcome)
        SELECT uuid_at(moment), ($1::uuid[])[1 + n % 30], moment, '192.0.2.1', 'agent', '', 5, 'main',
               'accepted'
        FROM generate_series(1, 6000) AS n,
             date_trunc('second', $2::timestamptz - n * interval '1 second') AS moment""",
}


async def test_retention_reads_what_is_due_and_not_the_table(pool: Pool) -> None:
    """What a user has due is found by an index, and deleted by the primary key."""
    users = [await put_user(pool, Plan.FREE) for _ in range(30)]
    noon = day_before(PLAN_TERMS[Plan.FREE].signals_kept_days + 1) + timedelta(hours=12)
    for age in (timedelta(days=300), timedelta(hours=3), timedelta(0)):
        await put_call(pool, users[0], noon - age)
    for table, insert in _MANY.items():
        await pool.execute(insert, users, noon)
        await pool.execute(f"ANALYZE {table}")
    terms = module.Terms.at(now())
    for table in TABLES:
        full = f"{table}_{noon:%Y_%m}"
        find, delete = (module._QUERIES[f"{verb}_due_{table}"] for verb in ("users_with", "delete"))
        plans = [
            await pool.fetch(f"EXPLAIN {find}", terms.plans, terms.due_before),
            await pool.fetch(f"EXPLAIN {delete}", terms.plans, terms.due_before, users[1], 100),
        ]
        text = "\n".join(row[0] for plan in plans for row in plan)
        assert f"Seq Scan on {full}" not in text, text
        assert f"Index Scan using {full}_pkey" not in text.split("Delete on")[0], text
    removed = await Retention(pool, SystemClock()).run()
    assert removed is not None
    assert removed.rows["signals"] == removed.rows["audit_logs"] == 6003
