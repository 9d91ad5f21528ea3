"""The plans of the store's queries on a table of some size: nobody walks through all of it."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from runtime.clock import SystemClock, utc_now
from runtime.postgres import Pool
from runtime.sql import load_queries
from tests.support.api import pool_of
from tests.support.quota import insert
from tests.support.signals import new_signal
from tests.support.tenants import insert_tenant, new_customer

MANY = 30_000
"""Rows of a table in which reading everything would be wrong."""

CAPTURES = load_queries("sinks", "captures.sql")
SIGNALS = load_queries("sinks", "signals.sql")
RELEASE = load_queries("api", "quota.sql")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def big(postgres_url: str) -> AsyncIterator[Pool]:
    """Many done rows, and among them a few of each kind that somebody looks for."""
    async with pool_of(postgres_url) as pool:
        customer = new_customer()
        await insert_tenant(pool, customer)
        for _ in range(MANY // 1000):
            await insert(pool, [new_signal(customer, message="x" * 200) for _ in range(1000)])
        await pool.execute("UPDATE signals SET screenshot_status = 'completed'")
        few = "WHERE id IN (SELECT id FROM signals ORDER BY id LIMIT 50 OFFSET $1)"
        await pool.execute(f"UPDATE signals SET screenshot_status = 'pending' {few}", 10_000)  # noqa: S608 - literals
        await pool.execute(f"UPDATE signals SET disposition = 'parked' {few}", 20_000)  # noqa: S608 - literals
        await pool.execute(f"INSERT INTO released_signals (signal_id) SELECT id FROM signals {few}", 5_000)  # noqa: S608 - literals
        # each statement needs a connection of its own
        async with pool.acquire() as connection:
            for table in ("signals", "released_signals", "user_usage", "users"):
                await connection.execute(f"VACUUM ANALYZE {table}")
        yield pool


async def plans_of(pool: Pool, query: str, *values: object) -> list[str]:
    """As the planner sees it with these values, and with any."""
    plans = []
    async with pool.acquire() as connection:
        for mode in ("force_custom_plan", "force_generic_plan"):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
                # our pools do not leave it the choice
                await connection.execute("SET LOCAL enable_seqscan = on")
                rows = await connection.fetch(f"EXPLAIN {query}", *values)
            plans.append("\n".join(row[0] for row in rows))
    return plans


def asked_of(some: Sequence[UUID], user_id: UUID) -> dict[str, tuple[Any, ...]]:
    """Each query that reads many rows, with what it is asked about these signals of this user."""
    now, period = utc_now(SystemClock()), datetime(2026, 1, 1, tzinfo=UTC)
    rows = msgspec.json.encode([{"signal_id": one, "user_id": user_id} for one in some]).decode()
    plan = (["premium"], [now], [timedelta(minutes=15)])
    return {
        "skip_stale": (CAPTURES["skip_stale"], now, 500, 2),
        "silent_captures": (CAPTURES["silent_captures"], now, now, 500),
        "released_signals": (CAPTURES["released_signals"], 500),
        "apply_capture_events": (CAPTURES["apply_capture_events"], rows),
        "insert_signals": (SIGNALS["insert_signals"], rows, rows, *plan, now),
        "reparse_signals": (SIGNALS["reparse_signals"], rows),
        "stored_signals": (SIGNALS["stored_signals"], some),
        "mark_captures_requested": (SIGNALS["mark_captures_requested"], some),
        "count_parked": (RELEASE["count_parked"], user_id),
        "release_oldest": (RELEASE["release_oldest"], user_id, period, 500),
    }


QUERIES = sorted(asked_of([], UUID(int=0)))
ONLY_WITHOUT_PICTURE = ("skip_stale", "silent_captures")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", QUERIES)
async def test_no_query_walks_through_the_table(big: Pool, name: str) -> None:
    """The planner has the choice, and takes an index with these values as with any."""
    some = [row["id"] for row in await big.fetch("SELECT id FROM signals ORDER BY id LIMIT 500")]
    query, *values = asked_of(some, await big.fetchval("SELECT id FROM users"))[name]
    for plan in await plans_of(big, query, *values):
        assert "Seq Scan on signals_2" not in plan, plan
        assert " using signals_2" in plan or " on signals_2" in plan, plan


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ONLY_WITHOUT_PICTURE)
async def test_the_sweep_reads_no_row_that_has_its_picture(big: Pool, name: str) -> None:
    """Its index holds no others."""
    [small] = await big.fetch(
        "SELECT indexrelid::regclass::text AS name FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
        " WHERE indpred IS NOT NULL AND pg_get_expr(indpred, indrelid) LIKE '%screenshot_status%'"
        " AND relkind = 'r' AND reltuples > 0"
    )
    query, *values = asked_of([], UUID(int=0))[name]
    for plan in await plans_of(big, query, *values):
        assert small["name"] in plan, plan
