"""The schema on a real server, from nothing to the newest version."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio

from deploy.local.postgres import PostgresCluster
from runtime.ids import lowest_id_at
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from runtime.sql import load_queries
from sinks.migrate import migrate
from sinks.store import SignalStore
from tests.support.signals import metadata_of, new_signal
from tests.support.tenants import new_customer

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


async def schema_of(url: str) -> list[tuple[Any, ...]]:
    """Every column, index and constraint with its definition."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("""
            SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod) FROM pg_attribute
            JOIN pg_class ON pg_class.oid = attrelid
            WHERE attnum > 0 AND relnamespace = 'public'::regnamespace
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
        await SignalStore(pool).insert([(signal, metadata_of(signal)) for signal in signals])
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
