"""Postgres under deadlines: reads that answer or fail soon, and short transactions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from runtime.postgres import Connection, Pool

ACQUIRE_DEADLINE_S: Final = 1.0
"""Also bounds how long asyncpg waits for a server that does not confirm the end of a cancelled statement."""

READ_DEADLINE_S: Final = 2.0
TRANSACTION_DEADLINE_S: Final = 10.0


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for the reads of one request: giving it back costs a round trip too.

    Raises within 1 s when there is none.
    """
    async with pool.acquire(timeout=ACQUIRE_DEADLINE_S) as connection:
        yield connection


async def read_rows(pool: Pool, query: str, *values: object) -> Sequence[Any]:
    """The rows of one statement. Raises within 4 s when the database is away or does not answer."""
    async with reading(pool) as connection:
        rows: Sequence[Any] = await connection.fetch(query, *values, timeout=READ_DEADLINE_S)
        return rows


async def read_visible_rows(
    connection: Connection, opening: str, query: str, *values: object
) -> Sequence[Any]:
    """The rows of one statement in a transaction that `opening` begins, as the role which is to read.

    `opening` goes to the server in one piece, so role and tenant cost one round trip. Raises within 2 s; the
    connection is closed then.
    """
    try:
        async with asyncio.timeout(READ_DEADLINE_S):
            await connection.execute(opening)
            rows: Sequence[Any] = await connection.fetch(query, *values)
            await connection.execute("COMMIT")
    except BaseException:
        # a transaction that stays open would lend its role and tenant to the next request
        connection.terminate()
        raise
    return rows


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Commits on exit, rolls back on any error. Raises `TimeoutError` after the deadline."""
    async with (
        asyncio.timeout(TRANSACTION_DEADLINE_S),
        pool.acquire(timeout=ACQUIRE_DEADLINE_S) as connection,
        connection.transaction(),
    ):
        yield connection
