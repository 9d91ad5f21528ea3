"""The connection pool of one process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import orjson

from runtime.settings import PostgresSettings

Pool = asyncpg.Pool
Connection = asyncpg.pool.PoolConnectionProxy

_PLANS: Final = {
    # compiling a statement takes longer than any of ours should run
    "jit": "off",
    # A plan is kept, and of an empty table or partition reading all of it is the cheapest: a sink that had
    # begun with an empty partition took seven times as long a batch 50,000 rows later.
    "enable_seqscan": "off",
}


@asynccontextmanager
async def open_pool(
    settings: PostgresSettings, application: str, *, resets: bool = True
) -> AsyncIterator[Pool]:
    """A pool that connects on first use, so that a process starts and waits while the database is away.

    JSON columns are Python values. Each statement has the deadline of the settings. `resets` off is for who
    leaves nothing behind in a session (no lock, no setting, no cursor) and would pay a trip to the server
    for each statement.
    """
    pool = asyncpg.create_pool(
        settings.url.get_secret_value(),
        min_size=0,
        max_size=settings.pool_size,
        timeout=5,
        command_timeout=settings.command_timeout_s,
        max_inactive_connection_lifetime=60,
        init=_set_up_connection,
        reset=None if resets else _leave_as_it_is,
        server_settings={"application_name": f"alerts-{application}", **_PLANS},
    )
    _ = await pool
    try:
        yield pool
    finally:
        # close() waits without limit for borrowed connections; whatever holds one has been told to stop
        pool.terminate()


async def ping(pool: Pool) -> None:
    """Raises when the database does not answer within 2 s."""
    async with pool.acquire(timeout=2) as connection:
        await connection.execute("SELECT 1", timeout=2)


def rows_of(status: str) -> int:
    """How many rows a statement has changed, told by what asyncpg returns of it: `INSERT 0 5`."""
    return int(status.rsplit(" ", 1)[-1])


async def _leave_as_it_is(_connection: Any) -> None:
    """Nothing to undo."""


async def _set_up_connection(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: orjson.dumps(value).decode(),
        decoder=orjson.loads,
        format="text",
    )
