"""No tenant sees the rows of another, whatever a query forgets, and the list is as fast as it was."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from api.database import read_rows
from api.keys import Access
from runtime.clock import SystemClock, utc_now
from runtime.ids import uuid7
from runtime.sql import load_queries
from tests.support.api import new_signal, pool_of
from tests.support.database_roles import (
    LOGINS,
    READERS,
    TABLES,
    Scene,
    open_scene,
    store,
    visible_rows,
)
from tests.support.stack import Databases, run_apart

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres_url: str) -> AsyncIterator[Scene]:
    async with open_scene(postgres_url) as scene:
        yield scene


async def test_without_a_tenant_a_reader_sees_nothing(scene: Scene) -> None:
    """Neither in a transaction that names none nor after one that did, nor with an empty name."""
    opening = Access(scene.ana).opening
    async with scene.login("alerts_reader") as pool, pool.acquire() as connection:
        for before in ("SELECT 1", f"{opening}; COMMIT", "SET alerts.user_id = ''"):
            await connection.execute(before)
            assert await counts_of(connection) == dict.fromkeys(TABLES, 0), before


async def test_a_query_that_forgets_its_filter_sees_its_tenant_only(scene: Scene) -> None:
    """In every table there is something to see, and nothing of anybody else; the platform sees both."""
    async with scene.login("api") as pool:
        for table, owner in TABLES.items():
            query = f"SELECT DISTINCT {owner} AS user_id FROM {table}"  # noqa: S608 - the table above
            for user_id in (scene.ana, scene.bob):
                rows = await visible_rows(pool, Access(user_id), query)
                assert [row["user_id"] for row in rows] == [user_id], table
            rows = await visible_rows(pool, Access(None), query)
            assert {scene.ana, scene.bob} <= {row["user_id"] for row in rows}, table


async def test_a_tenant_that_is_named_is_seen_whoever_owns_the_connection(scene: Scene) -> None:
    """Also under the owner's login, which runs everything where nobody has made logins."""
    query = "SELECT DISTINCT user_id, current_user FROM signals"
    rows = await visible_rows(scene.owner, Access(scene.bob), query)
    assert [tuple(row) for row in rows] == [(scene.bob, "alerts_reader")]


@pytest.mark.parametrize("query", ["SELECT 1", "SELECT 1 / 0", "SELECT pg_sleep(30)"])
async def test_a_read_leaves_no_role_and_no_tenant_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """Whether it was answered, failed or took too long: the next one is the login's own."""
    monkeypatch.setattr("api.database.READ_DEADLINE_S", 0.5)
    async with scene.login("api") as pool:
        try:
            await visible_rows(pool, Access(scene.ana), query)
        except (asyncpg.DivisionByZeroError, TimeoutError):
            assert query != "SELECT 1"
        rows = await read_rows(
            pool, "SELECT current_user, nullif(current_setting('alerts.user_id', true), '') AS tenant"
        )
    assert [tuple(row) for row in rows] == [(LOGINS["api"].name, None)]


async def test_partitions_are_read_through_their_parents_only(scene: Scene) -> None:
    """A partition made later holds to the policies as well, without a grant of its own."""
    later = utc_now(SystemClock()) + timedelta(days=45)
    async with scene.login("sink") as pool:
        assert await pool.fetchval("SELECT ensure_partition('signals', $1)", later.date())
    partitions = await scene.owner.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent IN ('signals'::regclass, 'audit_logs'::regclass)"
    )
    assert len(partitions) > 2
    moment_ms = int(later.timestamp() * 1000)
    tenants = enumerate((scene.ana, scene.bob))
    late = {user_id: new_signal(user_id, uuid7(moment_ms, 0, n)) for n, user_id in tenants}
    for name in ("sink", *READERS):
        async with scene.login(name) as pool:
            for partition in partitions:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await pool.execute(f"SELECT id FROM {partition['name']}")  # noqa: S608 - the catalog's
    async with scene.login("sink") as pool:
        await store(pool, *late.values())
    ids = [signal.signal_id for signal in late.values()]
    rows = await visible_rows(
        scene.owner, Access(scene.ana), "SELECT id FROM signals WHERE id = ANY($1::uuid[])", ids
    )
    assert [row["id"] for row in rows] == [late[scene.ana].signal_id]


async def test_every_table_of_tenants_is_protected(scene: Scene) -> None:
    """A table that is added with a user in it has row-level security, forced, or is named here."""
    rows = await scene.owner.fetch(
        """
        SELECT DISTINCT relname FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
            AND (attname = 'user_id' OR relname = ANY($1::text[]))
            AND NOT (relrowsecurity AND relforcerowsecurity)""",
        list(TABLES),
    )
    assert [row["relname"] for row in rows] == ["api_keys"]


async def counts_of(connection: Any) -> dict[str, int]:
    return {
        table: await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - the table above
        for table in TABLES
    }


IDLE: Final = UUID(int=1)
_ROWS: Final = """
    WITH months AS (SELECT date_trunc('month', now()) - make_interval(months => n) AS start
                    FROM generate_series(0, 2) AS n)
    INSERT INTO signals (id, user_id, plan, "timestamp", delayed, fields, message, parse_status, warnings,
                         source_format, parse_revision, lane, screenshot_status, capture_by)
    -- the first rows of each month are the idle user's, all others come after them
    SELECT uuid_at(moment), lpad(to_hex(1 + n * $1 / 20000), 32, '0')::uuid, 'pro', moment, false, '{}',
           repeat('x', 200), 'partial', '{}', 'json', 1, 'main', 'skipped', moment
    FROM months, generate_series(0, 19999) AS n,
         LATERAL (SELECT start + n * interval '1 second' AS moment) AS at
"""


@pytest.fixture(scope="module", params=[2, 10])
def listed_url(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """Three months of rows of so many users."""

    async def fill(url: str) -> None:
        async with pool_of(url) as pool:
            for table in ("signals", "audit_logs"):
                await pool.execute(
                    "SELECT ensure_partition($1::text::regclass, (now() - make_interval(months => n))::date)"
                    " FROM generate_series(0, 2) AS n",
                    table,
                )
            await pool.execute(_ROWS, request.param)
            await pool.execute("VACUUM ANALYZE signals")

    with databases.database() as url:
        run_apart(fill(url))
        yield url


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_the_list_reads_the_index_of_user_and_id(listed_url: str, reader: str, mode: str) -> None:
    """As the reading role, in every partition, sorting nothing, and no row of others on the way.

    With two users the planner is tempted to walk the primary key: half of all rows are this user's.
    """
    query = load_queries("api", "signals.sql")["signals_of_user"]
    access = Access(IDLE if reader == "alerts_reader" else None)
    connection = await asyncpg.connect(listed_url)
    try:
        await connection.execute(f"SET plan_cache_mode = {mode}")
        await connection.execute(access.opening)
        assert await connection.fetchval("SELECT current_user") == reader
        await connection.execute(f"PREPARE page (uuid, uuid, bigint) AS {query}")
        call = f"EXECUTE page ('{IDLE}', '{UUID(int=2**128 - 1)}', 51)"
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {call}")
    finally:
        await connection.close()
    nodes = list(plan_nodes(json.loads(text)[0]["Plan"]))
    scans = [node for node in nodes if str(node.get("Relation Name", "")).startswith("signals_2")]
    assert {node["Node Type"] for node in scans} == {"Index Scan"}
    assert [node["Index Name"] for node in scans if "user_id" not in node["Index Name"]] == []
    assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0
    assert not [node for node in nodes if node["Node Type"] in ("Sort", "Seq Scan", "Hash")]


def plan_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from plan_nodes(child)
