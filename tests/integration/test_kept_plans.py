"""Plans that the server keeps: chosen while the tables were empty, used when they have grown."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
import pytest_asyncio

from runtime.clock import SystemClock, utc_now
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from schemas.records import CaptureEventKind, Signal
from sinks.capture_store import CaptureStore
from sinks.store import AcceptedSignal, SignalStore
from tests.support.api import pool_of
from tests.support.quota import insert
from tests.support.signals import accepted_signal, new_event, new_signal
from tests.support.tenants import Customer, insert_tenant, new_customer

GROWN_BY: Final = 4_000
TENANTS: Final = 500
OFTEN_ENOUGH: Final = 8
"""The server chooses for good after the fifth time."""

FEW: Final = 100
"""Entries of tables and indexes that may be read for one row."""

READ: Final = """
SELECT coalesce(sum(pg_stat_get_tuples_returned(oid)), 0)::bigint
FROM pg_class
WHERE relkind IN ('r', 'i') AND relname ~ '^(signals|signal_|audit_logs|user_usage|screenshots|released)'
"""

Statement = Callable[[Pool, AcceptedSignal], Awaitable[object]]


async def _insert(pool: Pool, item: AcceptedSignal) -> None:
    await SignalStore(pool).insert([item], utc_now(SystemClock()))


async def _reparse(pool: Pool, item: AcceptedSignal) -> None:
    await SignalStore(pool).reparse([item])


async def _mark(pool: Pool, item: AcceptedSignal) -> None:
    await SignalStore(pool).mark_captures_requested([item.signal.signal_id])


async def _apply(pool: Pool, item: AcceptedSignal) -> None:
    await CaptureStore(pool).apply([new_event(item.signal, CaptureEventKind.STARTED)])


STATEMENTS: Final[dict[str, Statement]] = {
    "insert": _insert,
    "insert again": _insert,
    "reparse": _reparse,
    "mark": _mark,
    "apply": _apply,
}


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """One connection, as its statements' plans are its own."""
    settings = PostgresSettings.model_validate({"url": database_url, "pool_size": 1})
    async with open_pool(settings, "test") as pool:
        yield pool


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_plan_of_empty_tables_does_not_read_all_of_grown_ones(
    pool: Pool, database_url: str, name: str
) -> None:
    """What one row costs does not rise with the rows that came after its plan was chosen."""
    customer = new_customer()
    await insert_tenant(pool, customer)
    statement = STATEMENTS[name]
    for _ in range(OFTEN_ENOUGH):
        await statement(pool, accepted_signal(new_signal(customer)))
    first = await _grow(database_url)
    one = first if name != "insert" else new_signal(customer)
    assert await _entries_read(pool, statement, accepted_signal(one)) < FEW


async def _grow(url: str) -> Signal:
    """Rows of many tenants, by a connection that tells the planner nothing of them; one of them."""
    customers = [new_customer() for _ in range(TENANTS)]
    async with pool_of(url) as pool:
        for customer in customers:
            await insert_tenant(pool, customer)
        signals = [new_signal(_nth(customers, number)) for number in range(GROWN_BY)]
        await insert(pool, signals)
    return signals[0]


def _nth(customers: list[Customer], number: int) -> Customer:
    return customers[number % len(customers)]


async def _entries_read(pool: Pool, statement: Statement, item: AcceptedSignal) -> int:
    before = await _total(pool)
    await statement(pool, item)
    return await _total(pool) - before


async def _total(pool: Pool) -> int:
    async with pool.acquire() as connection:
        # what the session has counted and not told yet
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(await connection.fetchval(READ))
