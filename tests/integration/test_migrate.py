"""The schema on a real server, from nothing to the newest version."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import resources
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from deploy.local.postgres import PostgresCluster
from runtime.clock import SystemClock, utc_now
from runtime.ids import lowest_id_at
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from runtime.sql import load_queries
from schemas.records import RefusedCalls
from sinks.migrate import migrate
from sinks.refusals import RefusalStore
from sinks.store import SignalStore
from tests.support.signals import accepted_signal, new_signal
from tests.support.tenants import insert_tenant, new_customer

_TABLES = {
    "users",
    "user_usage",
    "user_config",
    "signals",
    "screenshots",
    "signal_screenshots",
    "audit_logs",
    "api_keys",
}


_PARTITIONS = ("signals_2026", "audit_logs_2026")
_MARCH = datetime(2026, 3, 14, tzinfo=UTC)

_VERSIONS = ScriptDirectory(str(resources.files("sinks") / "migrations")).walk_revisions()
_EARLIER = [version.revision for version in _VERSIONS][1:]

# Every version takes these: columns are only ever added.
_DATA = """
    SELECT ensure_partition('signals', '2026-03-01'), ensure_partition('audit_logs', '2026-03-01');
    INSERT INTO users (id, name, webhook_token_hash, webhook_token, plan, quota_mode, quota_reset_at)
    SELECT uuid_at('2026-01-01'), 'one', decode(repeat('00', 32), 'hex'), 'x', 'pro', 'off', now();
    INSERT INTO user_config (user_id, session_version) SELECT id, 7 FROM users;
    INSERT INTO signals (id, user_id, plan, "timestamp", delayed, price, fields, message, parse_status,
                         warnings, source_format, parse_revision, lane, screenshot_status, capture_by)
    SELECT uuid_at(moment), users.id, 'pro', moment, false, 0.00000001, '{"a": null}', 'línea', 'partial',
           '{naive_time}', 'json', 1, 'main', 'pending', moment
    FROM users, unnest('{2026-03-01Z, 2026-03-02Z}'::timestamptz[]) AS moment;
    INSERT INTO audit_logs (id, user_id, received_at, client_address, user_agent, content_type, body_bytes,
                            lane, outcome)
    SELECT id, user_id, "timestamp", '192.0.2.1', 'agent', 'text/plain', 5, 'main', 'accepted' FROM signals;
"""


@pytest_asyncio.fixture
async def empty_url(postgres_server: PostgresCluster) -> AsyncIterator[str]:
    """A database without a table."""
    name = f"empty_{secrets.token_hex(4)}"
    server = await asyncpg.connect(postgres_server.url("postgres"))
    try:
        await server.execute(f'CREATE DATABASE "{name}"')
        yield postgres_server.url(name)
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await server.close()


async def migrate_to(url: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a release that ended with this version did."""
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", partial(_upgrade_to, command.upgrade, version))
        await migrate(url)


def _upgrade_to(upgrade: Callable[[Config, str], None], version: str, config: Config, _newest: str) -> None:
    upgrade(config, version)


async def rows_of(pool: Pool) -> list[dict[str, Any]]:
    """Every row of the tables with data."""
    tables = ("users", "user_config", "signals", "audit_logs")
    queries = [f"SELECT * FROM {table} ORDER BY 1" for table in tables]  # noqa: S608 - literals
    return [dict(row) for query in queries for row in await pool.fetch(query)]


def refused_at(moment: datetime) -> RefusedCalls:
    return RefusedCalls(
        id=lowest_id_at(int(moment.timestamp() * 1000)),
        client_address="203.0.113.7",
        reason="not_found",
        status=404,
        count=3,
        first_at=moment,
        last_at=moment,
    )


async def schema_of(url: str) -> list[tuple[Any, ...]]:
    """Every column, index and constraint with its definition."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("""
            SELECT attrelid::regclass::text, attname,
                   format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
            FROM pg_attribute
            JOIN pg_class ON pg_class.oid = attrelid
            WHERE attnum > 0 AND relnamespace = 'public'::regnamespace
            UNION ALL
            SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
            UNION ALL
            SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
            ORDER BY 1, 2, 3""")
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


async def partitioned_tables(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT partrelid::regclass::text AS name, pg_get_partkeydef(partrelid) AS key"
            " FROM pg_partitioned_table"
        )
        return {row["name"]: row["key"] for row in rows}
    finally:
        await connection.close()


async def test_an_empty_database_gets_every_table(empty_url: str) -> None:
    """All tables are there, and the big ones are partitioned by their time-ordered id from the start."""
    await migrate(empty_url)
    tables = {table for table, *_column in await schema_of(empty_url)}
    assert tables >= _TABLES
    assert await partitioned_tables(empty_url) == {"signals": "RANGE (id)", "audit_logs": "RANGE (id)"}


@pytest.mark.parametrize("version", _EARLIER)
async def test_each_earlier_version_becomes_the_newest_with_its_data(
    empty_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """The tables are those of a new database, and no row has lost or changed a value."""
    await migrate_to(empty_url, version, monkeypatch)
    async with open_pool(PostgresSettings.model_validate({"url": empty_url}), "test") as pool:
        await pool.execute(_DATA)
        before = await rows_of(pool)
        await migrate(empty_url)
        after = await rows_of(pool)
    assert all(old.items() <= new.items() for old, new in zip(before, after, strict=True))
    assert len(before) == 6
    made = [row for row in await schema_of(empty_url) if not row[0].startswith(_PARTITIONS)]
    assert made == await schema_of(database_url)


async def test_partitions_made_before_refused_calls_take_them(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As do those made after; what was accepted before counts as one call each."""
    await migrate_to(empty_url, "0001", monkeypatch)
    async with open_pool(PostgresSettings.model_validate({"url": empty_url}), "test") as pool:
        await pool.execute(_DATA)
        await migrate(empty_url)
        store = RefusalStore(pool)
        assert (
            await store.insert([refused_at(moment) for moment in (_MARCH, _MARCH + timedelta(days=31))]) == 2
        )
        rows = await pool.fetch(
            "SELECT tableoid::regclass::text AS place, count, status FROM audit_logs ORDER BY received_at"
        )
    assert [tuple(row) for row in rows] == [
        ("audit_logs_2026_03", 1, None),
        ("audit_logs_2026_03", 1, None),
        ("audit_logs_2026_03", 3, 404),
        ("audit_logs_2026_04", 3, 404),
    ]


async def test_no_foreign_key_points_to_a_partitioned_table(empty_url: str) -> None:
    """It would block detaching a partition."""
    await migrate(empty_url)
    connection = await asyncpg.connect(empty_url)
    try:
        targets = await connection.fetch(
            "SELECT DISTINCT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        )
    finally:
        await connection.close()
    assert {target[0] for target in targets} == {"users", "screenshots"}


async def test_migrating_again_changes_nothing(empty_url: str) -> None:
    """Safe at every start of a deployment."""
    await migrate(empty_url)
    before = await schema_of(empty_url)
    await migrate(empty_url)
    assert await schema_of(empty_url) == before


async def test_processes_may_migrate_at_once(empty_url: str, database_url: str) -> None:
    """One works, the others wait, and the result is the same as from one alone."""
    await asyncio.gather(*(migrate(empty_url) for _ in range(3)))
    assert await schema_of(empty_url) == await schema_of(database_url)


async def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    """It is one transaction: whatever stops it, the next try starts from the same place."""
    connection = await asyncpg.connect(empty_url)
    try:
        await connection.execute("CREATE TABLE audit_logs (mine text)")
        before = await schema_of(empty_url)
        with pytest.raises(asyncpg.DuplicateTableError):
            await migrate(empty_url)
        left = [row for row in await schema_of(empty_url) if row[0] != "alembic_version"]
        assert left == before
        await connection.execute("DROP TABLE audit_logs")
    finally:
        await connection.close()
    await migrate(empty_url)


async def test_a_users_list_reads_one_index(database_url: str) -> None:
    """The API's list query walks the index of user and id in every partition, and sorts nothing."""
    async with open_pool(PostgresSettings.model_validate({"url": database_url}), "test") as pool:
        customers = [new_customer() for _ in range(20)]
        months_ms = [1_767_225_600_000 + month * 31 * 86_400_000 for month in range(3)]
        signals = [
            new_signal(customer, signal_id=lowest_id_at(start_ms + 1000 * number + 100_000 * place))
            for start_ms in months_ms
            for place, customer in enumerate(customers)
            for number in range(50)
        ]
        for customer in customers:
            await insert_tenant(pool, customer)
        await SignalStore(pool).insert(
            [accepted_signal(signal) for signal in signals], utc_now(SystemClock())
        )
        await pool.execute("ANALYZE signals")
        newest = lowest_id_at(months_ms[-1] + 10_000_000)
        plan = await explain(pool, customers[7].tenant.user_id, newest, 50)
        indexes = await pool.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = 'signals_of_user'::regclass"
        )
    used = {
        node["Index Name"] for node in nodes_of(plan) if node.get("Relation Name", "").startswith("signals_")
    }
    assert used - {"signal_screenshots_pkey"} <= {row["name"] for row in indexes}
    assert len(used) >= 3
    kinds = {node["Node Type"] for node in nodes_of(plan)}
    assert not kinds & {"Seq Scan", "Sort", "Bitmap Heap Scan"}


async def explain(pool: Pool, *arguments: object) -> dict[str, Any]:
    query = load_queries("api", "signals.sql")["signals_of_user"]
    async with pool.acquire() as connection:
        text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
    plan: dict[str, Any] = orjson.loads(text)[0]["Plan"]
    return plan


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes_of(child))]
