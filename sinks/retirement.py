"""Takes whole partitions out of `signals` and `audit_logs`: detached concurrently, then dropped.

Detaching happens in two transactions, and any of them may be the last of its process. So each partition is
noted in `retired_partitions` before it is touched, and whoever comes next goes on from what the database
shows: half detached (`FINALIZE`), detached (drop it), gone (forget it).
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg

from runtime.postgres import Connection
from runtime.sql import load_queries

LOCK_TIMEOUT: Final = "1s"
"""A dump holds its locks for hours, and who comes after our request for a stronger lock waits behind it."""
DETACH_TIMEOUT_S: Final = 60.0
"""Detaching waits for every transaction that has used the table, each for at most the lock timeout."""

_QUERIES: Final = load_queries("sinks", "retirement.sql")
# 55000: another partition of the table is half detached, by somebody else's hand
_IN_USE: Final = (asyncpg.LockNotAvailableError, asyncpg.ObjectNotInPrerequisiteStateError)


async def due_partitions(connection: Connection, before: UUID) -> list[Any]:
    """Attached partitions whose ids are all smaller, the half detached first, then the oldest, by table."""
    rows: list[Any] = await connection.fetch(_QUERIES["due_partitions"], before)
    return rows


@dataclass(frozen=True, slots=True)
class Retired:
    """Names of the partitions that are gone, and of those that somebody uses."""

    dropped: list[str]
    in_use: list[str]


async def retire_partitions(connection: Connection, before: UUID) -> Retired:
    """Detach and drop every partition whose ids are all smaller.

    What is in use stays for the next call. The connection must not be in a transaction, must own the tables
    and is left with a short lock timeout. One caller at a time.
    """
    await connection.execute(_QUERIES["limit_lock_waits"], LOCK_TIMEOUT)
    await connection.execute(_QUERIES["forget_unbegun"])
    in_use: dict[str, str] = {}
    for partition in await due_partitions(connection, before):
        # a table can have one half detached partition at a time
        if partition["parent"] not in in_use and not await _detach(connection, partition):
            in_use[partition["parent"]] = partition["name"]
    await connection.execute(_QUERIES["forget_unbegun"])
    detached = await connection.fetch(_QUERIES["detached_partitions"])
    dropped = [row["name"] for row in detached if await _drop(connection, row)]
    kept = [row["name"] for row in detached if row["name"] not in dropped]
    return Retired(dropped, [*in_use.values(), *kept])


async def _detach(connection: Connection, partition: Any) -> bool:
    await connection.execute(_QUERIES["retire_partition"], partition["name"])
    try:
        await connection.execute(partition["detach"], timeout=DETACH_TIMEOUT_S)
    except _IN_USE:
        return False
    return True


async def _drop(connection: Connection, partition: Any) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(partition["drop"])
            await connection.execute(_QUERIES["forget_retired"], partition["name"])
    except _IN_USE:
        return False
    return True
