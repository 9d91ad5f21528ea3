"""What the store promises when the database or the sink dies, on real parts, with alerts flowing."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from deploy.local.postgres import DATABASE
from runtime.kafka import partition_of
from schemas.plans import Plan
from schemas.records import CaptureEventKind
from schemas.topics import CAPTURE_EVENTS, SIGNALS
from sinks.migrate import migrate
from tests.support.broker import lag
from tests.support.commit_proxy import Cut, commit_proxy
from tests.support.frail_postgres import FrailPostgres, SmallDisk, cramped_postgres, frail_postgres
from tests.support.role_process import RoleProcess, role_processes
from tests.support.stack import kafka_node, run_apart, temporary_folder
from tests.support.store_pipeline import (
    SINK_GROUP,
    StorePipeline,
    StorePlace,
    open_pipeline,
    sink_of,
)
from tests.support.tenants import Customer, create_local_topics
from tests.support.waiting import eventually

SOAK = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
KILLS = 20 if SOAK else 3
OUTAGE_S = 10.0 if SOAK else 1.0
CUTS = 30 if SOAK else 3
FULL_S = 60.0 if SOAK else 2.0
TENANTS = 8 if SOAK else 4
FAREWELLS = 300 if SOAK else 20
FAREWELLS_A_ROUND = 20
NEIGHBOURS = 30
KILLS_OF_SEARCH = 2
ROUNDS = 200 if SOAK else 20

DISK_BYTES = 192 * 1024 * 1024

pytestmark = pytest.mark.timeout(900 if SOAK else 150)


@contextmanager
def place_on(server: FrailPostgres, folder: Path) -> Iterator[StorePlace]:
    """A broker of its own beside the server, and processors that never stop."""
    with kafka_node() as broker:
        run_apart(create_local_topics(broker.bootstrap))
        run_apart(migrate(server.url))
        place = StorePlace(broker.bootstrap, server.url, folder)
        with role_processes(place.role("process")):
            yield place


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder("store") as folder:
        yield folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[FrailPostgres]:
    with frail_postgres(folder) as server:
        yield server


@pytest.fixture(scope="module")
def place(server: FrailPostgres, folder: Path) -> Iterator[StorePlace]:
    with place_on(server, folder) as place:
        yield place


@pytest_asyncio.fixture
async def pipeline(place: StorePlace) -> AsyncIterator[StorePipeline]:
    """Tests share its past: each proves all that was ever accepted here."""
    async with open_pipeline(place) as pipeline:
        yield pipeline


async def tenants_of_all_kinds(pipeline: StorePipeline) -> list[Customer]:
    """Some with pictures, one without, one that is above its quota soon."""
    strict = await pipeline.customers(1, plan=Plan.FREE)
    await pipeline.pool.execute("UPDATE users SET signals_quota = 20 WHERE id = $1", strict[0].tenant.user_id)
    plain = await pipeline.customers(1, captures_enabled=False)
    return [*strict, *plain, *await pipeline.customers(TENANTS - 2)]


async def test_postgres_killed_under_load(pipeline: StorePipeline, server: FrailPostgres) -> None:
    """Kill -9 of the whole server, again and again: what was committed is there, the rest comes again."""
    customers = await tenants_of_all_kinds(pipeline)
    async with sink_of(pipeline.place) as sink:
        async with pipeline.flowing(customers):
            for _ in range(KILLS):
                await asyncio.sleep(random.uniform(0.5, 1.5))
                server.kill()
                await asyncio.sleep(OUTAGE_S * random.random())
                await server.start()
        await pipeline.proved()
        assert failures_of(sink) == {"transient"}


async def test_connections_ended_by_the_server_under_load(pipeline: StorePipeline) -> None:
    """As at a restart of the server in good order: its farewell, whenever it comes, is no wrong data."""
    customers = await tenants_of_all_kinds(pipeline)
    async with sink_of(pipeline.place) as sink:
        async with pipeline.flowing(customers):
            # the sink waits longer after each failure in a row
            for _round in range(FAREWELLS // FAREWELLS_A_ROUND):
                await eventually(lambda: has_ended_working(pipeline, FAREWELLS_A_ROUND))
        await pipeline.proved()
        assert failures_of(sink) == {"transient"}


async def test_the_connection_breaks_in_the_middle_of_a_commit(pipeline: StorePipeline) -> None:
    """Committed or not, the sink cannot know: it asks again, and counts nothing twice."""
    customers = await tenants_of_all_kinds(pipeline)
    async with commit_proxy(pipeline.place.database_url, b'"signal_id"') as (proxy, url):

        async def all_ways() -> bool:
            return all(proxy.cuts[cut] >= CUTS for cut in Cut)

        async with sink_of(pipeline.place, DATABASE_URL=url) as sink:
            async with pipeline.flowing(customers):
                await eventually(all_ways)
            proxy.cutting = False
            await pipeline.proved()
            assert failures_of(sink) == {"transient"}


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[tuple[FrailPostgres, SmallDisk]]:
    with cramped_postgres(tmp_path, DISK_BYTES) as cramped:
        yield cramped


async def test_the_disk_of_the_database_is_full(
    cramped: tuple[FrailPostgres, SmallDisk], tmp_path: Path
) -> None:
    """Tables cannot grow, then the server dies of its log: the sink waits, buries nothing, and stores all."""
    server, disk = cramped
    with place_on(server, tmp_path) as place:
        async with open_pipeline(place) as pipeline, sink_of(place) as sink:
            customers = await tenants_of_all_kinds(pipeline)
            async with pipeline.flowing(customers):
                await eventually(lambda: has_rows(pipeline))
                disk.fill()
                await eventually(lambda: waits_for(sink, "sqlstate_53100"))
                await asyncio.sleep(FULL_S / 2)
                assert sink.process is not None
                assert sink.process.poll() is None
                await fill_log(server)
                await eventually(lambda: unready(sink))
                await asyncio.sleep(FULL_S / 2)
                assert await lag(place.bootstrap, SINK_GROUP, SIGNALS.name) > 0
                disk.free()
                if server.ended:
                    await server.start()
            await pipeline.proved()
            assert failures_of(sink) == {"transient"}
            await asyncio.to_thread(sink.until_ready)


async def test_the_victim_of_a_deadlock_is_tried_again(pipeline: StorePipeline) -> None:
    """The sink has the first tenant's quota and waits for the last one's, we the other way round."""
    first, last = await same_partition(pipeline)
    async with sink_of(pipeline.place):
        await pipeline.accept([first, last])
        await pipeline.settled()
    async with (
        database_set(pipeline, "deadlock_timeout", "3s"),
        aside(pipeline) as connection,
        sink_of(pipeline.place) as sink,
    ):
        await connection.execute("SET deadlock_timeout = '60s'")
        async with connection.transaction():
            await touch_usage(connection, last)
            await pipeline.accept([first, last] * 20)
            await eventually(lambda: blocks_another(connection))
            await touch_usage(connection, first)
            await eventually(lambda: waits_for(sink, "sqlstate_40P01"))
        await pipeline.proved()


async def test_the_victim_of_a_serialization_failure_is_tried_again(pipeline: StorePipeline) -> None:
    """A server whose transactions are stricter than by default refuses what met a change of ours."""
    [customer] = await pipeline.customers(1)
    async with sink_of(pipeline.place):
        await pipeline.accept([customer])
        await pipeline.settled()
    async with (
        database_set(pipeline, "default_transaction_isolation", "repeatable read"),
        aside(pipeline) as connection,
        sink_of(pipeline.place) as sink,
    ):
        async with connection.transaction():
            await touch_usage(connection, customer)
            await pipeline.accept([customer] * 20)
            await eventually(lambda: blocks_another(connection))
        await eventually(lambda: waits_for(sink, "sqlstate_40001"))
        await pipeline.proved()


async def test_a_wrong_row_is_found_although_postgres_dies_meanwhile(
    pipeline: StorePipeline, server: FrailPostgres
) -> None:
    """The one culprit becomes a dead letter, its neighbours rows; the outage is no fault of any of them."""
    customers = await pipeline.customers(TENANTS)
    await refuse(pipeline, "BAD:ROW")
    await pipeline.accept(customers * NEIGHBOURS)
    pipeline.place.dead.update(await pipeline.accept(customers[:1], "BAD:ROW"))
    await pipeline.accept(customers * NEIGHBOURS)
    async with sink_of(pipeline.place) as sink:
        for refused in range(1, KILLS_OF_SEARCH + 1):
            await eventually(lambda refused=refused: has_refused(sink, refused))  # type: ignore[misc]
            server.kill()
            await asyncio.sleep(0.3)
            await server.start()
        await pipeline.proved()
        assert failures_of(sink) == {"invalid", "transient"}
        assert {line["reason"] for line in logged(sink, "record_buried")} == {"sqlstate_23514"}


async def test_the_topics_run_through_again(pipeline: StorePipeline) -> None:
    """From the beginning, with all that happened: not a byte of any table differs, update times aside."""
    customers = await tenants_of_all_kinds(pipeline)
    [silent] = await pipeline.customers(1)
    pipeline.place.silent.add(silent.tenant.user_id)
    flagged, expired = await pipeline.customers(2)
    everybody = [*customers, silent, flagged, expired]
    async with sink_of(pipeline.place):
        for _ in range(ROUNDS):
            await pipeline.accept(everybody * 5)
        await pipeline.settled()
        await pipeline.pool.execute(
            "UPDATE user_config SET tv_cookies_valid = true WHERE user_id = $1", expired.tenant.user_id
        )
        await pipeline.report(flagged, CaptureEventKind.ACCOUNT_FLAGGED)
        await pipeline.report(expired, CaptureEventKind.SESSION_EXPIRED)
        await pipeline.accept(everybody)
        await pipeline.proved()
    before = await pipeline.dump()
    assert all(before[table] for table in ("signals", "audit_logs", "user_usage", "signal_screenshots"))
    await pipeline.rewind(SIGNALS.name, CAPTURE_EVENTS.name)
    async with sink_of(pipeline.place):
        await pipeline.proved()
    after = await pipeline.dump()
    assert after.keys() == before.keys()
    for table, rows in before.items():
        assert after[table] == rows, table


async def test_the_sink_killed_under_load(pipeline: StorePipeline) -> None:
    """Kill -9 at any moment: what it had in hand comes again to the next, and changes nothing twice."""
    customers = await tenants_of_all_kinds(pipeline)
    # a restart does not wait for the end of the dead member's session
    async with sink_of(pipeline.place, KAFKA_GROUP_INSTANCE_ID="only") as sink:
        async with pipeline.flowing(customers):
            for _ in range(KILLS):
                already = len(logged(sink, "consumer_started"))
                sink.kill()
                sink.start()
                await eventually(lambda already=already: has_started(sink, already + 1))  # type: ignore[misc]
                await asyncio.sleep(random.uniform(0, 1.0))
        await pipeline.proved()
        assert failures_of(sink) <= {"transient"}


@asynccontextmanager
async def aside(pipeline: StorePipeline) -> AsyncIterator[asyncpg.Connection]:
    """A connection that outlives no test."""
    connection = await asyncpg.connect(pipeline.place.database_url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def database_set(pipeline: StorePipeline, name: str, value: str) -> AsyncIterator[None]:
    """For connections that are made in the block."""
    await pipeline.pool.execute(f"ALTER DATABASE {DATABASE} SET {name} = '{value}'")
    try:
        yield
    finally:
        await pipeline.pool.execute(f"ALTER DATABASE {DATABASE} RESET {name}")


async def refuse(pipeline: StorePipeline, ticker: str) -> None:
    """From now on rows of this ticker break a rule of the table, which takes its time to see it."""
    await pipeline.pool.execute(
        "CREATE FUNCTION unwanted(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS "
        f"$$ BEGIN IF $1 = '{ticker}' THEN PERFORM pg_sleep(0.2); RETURN true; END IF; RETURN false; END $$"
    )
    await pipeline.pool.execute("ALTER TABLE signals ADD CONSTRAINT unwanted CHECK (NOT unwanted(ticker))")


async def same_partition(pipeline: StorePipeline) -> tuple[Customer, Customer]:
    """Two tenants whose alerts arrive together; the first is locked first."""
    shelves: dict[int, list[Customer]] = {}
    for customer in await pipeline.customers(SIGNALS.local_partitions + 1):
        partitions = range(SIGNALS.local_partitions)
        shelves.setdefault(partition_of(customer.key, partitions, partitions), []).append(customer)
    first, last, *_ = next(shelf for shelf in shelves.values() if len(shelf) > 1)
    return (first, last) if first.tenant.user_id < last.tenant.user_id else (last, first)


async def touch_usage(connection: asyncpg.Connection, customer: Customer) -> None:
    await connection.execute(
        "UPDATE user_usage SET webhook_last_used = webhook_last_used WHERE user_id = $1",
        customer.tenant.user_id,
    )


async def blocks_another(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
    )


async def has_ended_working(pipeline: StorePipeline, times: int) -> bool:
    """Ends each connection of the sink that is at work, until it has been so often."""
    ended = 0
    while ended < times:
        ended += await pipeline.pool.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'alerts-sink' AND state IN ('active', 'idle in transaction')"
        )
        await asyncio.sleep(random.uniform(0, 0.01))
    return True


async def has_rows(pipeline: StorePipeline) -> bool:
    return bool(await pipeline.pool.fetchval("SELECT count(*) FROM signals"))


async def fill_log(server: FrailPostgres) -> None:
    """Until the write-ahead log does not fit either, which ends every connection."""
    connection = await asyncpg.connect(server.url)
    with suppress(asyncpg.PostgresError, OSError):
        while True:
            await connection.execute("SELECT pg_logical_emit_message(true, 'x', repeat('x', 1000000))")
            await connection.execute("SELECT pg_switch_wal()")
    connection.terminate()


def logged(role: RoleProcess, event: str) -> list[dict[str, object]]:
    lines = (json.loads(line) for line in role.log().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == event]


def failures_of(role: RoleProcess) -> set[object]:
    """How the failures that the role met were sorted."""
    failures = logged(role, "work_failed")
    print([line for line in failures if line["failure"] == "bug"])  # noqa: T201 - shown when the test fails
    return {line["failure"] for line in failures}


async def waits_for(role: RoleProcess, reason: str) -> bool:
    return any(
        line["reason"] == reason and line["failure"] == "transient" for line in logged(role, "work_failed")
    )


async def unready(role: RoleProcess) -> bool:
    """For want of the database."""
    url = f"http://127.0.0.1:{role.operations_port}/ready"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status == HTTPStatus.SERVICE_UNAVAILABLE and "postgres" in await answer.text()


async def has_refused(role: RoleProcess, times: int) -> bool:
    return len([line for line in logged(role, "work_failed") if line["failure"] == "invalid"]) >= times


async def has_started(role: RoleProcess, times: int) -> bool:
    return len(logged(role, "consumer_started")) >= times
