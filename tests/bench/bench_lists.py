"""A user's list with millions of rows beside: page 1,000 against page 1, by the API's own query as its role.

The rows are made inside Postgres: 1,000 users over six months, one of whom has a quarter of all. The pages in
between are walked by cursor as a client would. `--rows 10000000` for full figures.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final
from uuid import UUID

import asyncpg

from api.database import read_visible_rows
from api.keys import Access
from api.signals import LIMIT_DEFAULT, LIMIT_MAX
from runtime.postgres import Connection, Pool
from runtime.sql import load_queries
from tests.bench.report import quantile, show_machine, show_table
from tests.bench.store_load import pool_of
from tests.support.stack import Databases, postgres_cluster

USERS: Final = 1_000
MONTHS: Final = 6
LARGE_SHARE: Final = 4
"""The large user has every fourth row."""

FAR_PAGE: Final = 1_000
_FIRST: Final = UUID(int=2**128 - 1)
_LIST: Final = load_queries("api", "signals.sql")["signals_of_user"]
_QUERIES: Final = load_queries("tests.bench", "lists.sql")
_DEADLINE_S: Final = 3600
TITLES: Final = ("page", "p50 ms", "p99 ms", "buffers", "of them read")


@dataclass(frozen=True)
class Options:
    rows: int
    runs: int


@dataclass(frozen=True)
class Page:
    """One page of one user, and how it is read."""

    access: Access
    user_id: UUID
    before: UUID

    async def read(
        self, connection: Connection, query: str = _LIST, limit: int = LIMIT_DEFAULT
    ) -> Sequence[Any]:
        values = (self.user_id, self.before, limit + 1)
        return await read_visible_rows(connection, self.access.opening, query, *values)

    async def timed_ms(self, connection: Connection) -> float:
        began_s = time.perf_counter()
        rows = await self.read(connection)
        assert len(rows) == LIMIT_DEFAULT + 1
        return (time.perf_counter() - began_s) * 1000

    async def buffers(self, connection: Connection) -> tuple[int, int]:
        """All that were looked at, and those of them that were not in the server's own memory."""
        [row] = await self.read(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_LIST}")
        plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
        hit, read = (plan[0]["Plan"][f"Shared {kind} Blocks"] for kind in ("Hit", "Read"))
        return hit + read, read


async def make_rows(url: str, rows: int) -> list[UUID]:
    """The users, the large one first. Indexes are made after the rows: a tenth of the time."""
    connection = await asyncpg.connect(url, command_timeout=_DEADLINE_S)
    try:
        await connection.execute("SET maintenance_work_mem = '512MB'; SET synchronous_commit = off")
        users = [row["id"] for row in await connection.fetch(_QUERIES["make_users"], USERS)]
        await connection.execute(_QUERIES["make_partitions"], MONTHS)
        indexes = await connection.fetch(_QUERIES["secondary_indexes"])
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        await connection.execute(_QUERIES["make_signals"], rows, MONTHS, users, LARGE_SHARE)
        for index in indexes:
            await connection.execute(index["definition"])
        await connection.execute("VACUUM (ANALYZE) signals")
    finally:
        await connection.close()
    return users


async def far_page(connection: Connection, first: Page) -> Page:
    """As by cursor, each read beginning where the one before ended, in the largest steps the API takes."""
    page, to_pass = first, (FAR_PAGE - 1) * LIMIT_DEFAULT
    while to_pass:
        step = min(to_pass, LIMIT_MAX)
        rows = await page.read(connection, limit=step)
        page, to_pass = replace(page, before=rows[step - 1]["id"]), to_pass - step
    return page


async def measure(pool: Pool, name: str, first: Page, runs: int) -> list[tuple[str, ...]]:
    async with pool.acquire() as connection:
        pages = {"1": first, f"{FAR_PAGE:,}": await far_page(connection, first)}
        times_ms: dict[str, list[float]] = {number: [] for number in pages}
        # in turn: whatever else the machine does meets both
        for _run in range(runs):
            for number, page in pages.items():
                times_ms[number].append(await page.timed_ms(connection))
        buffers = {number: await page.buffers(connection) for number, page in pages.items()}
    lines: list[tuple[str, ...]] = [
        (
            f"{name}, page {number}",
            f"{median(times_ms[number]):.2f}",
            f"{quantile(times_ms[number], 0.99):.2f}",
            str(buffers[number][0]),
            str(buffers[number][1]),
        )
        for number in pages
    ]
    near, far = pages
    ratio = median(times_ms[far]) / median(times_ms[near])
    lines.append((f"{name}, ratio", f"{ratio:.2f}", "", f"{buffers[far][0] / buffers[near][0]:.2f}", ""))
    return lines


async def run(url: str, options: Options) -> None:
    began_s = time.perf_counter()
    users = await make_rows(url, options.rows)
    print(f"{options.rows:,} rows of {USERS:,} users over {MONTHS} months", end=" ")
    print(f"made in {time.perf_counter() - began_s:.0f} s; pages of {LIMIT_DEFAULT}, {options.runs} runs")
    async with pool_of(url, 1) as pool:
        lines: list[tuple[str, ...]] = []
        for name, access in [("own key", Access(users[0])), ("platform key", Access(None))]:
            lines += await measure(pool, name, Page(access, users[0], _FIRST), options.runs)
    show_table(TITLES, lines)


def read_options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    least = LARGE_SHARE * (FAR_PAGE * LIMIT_DEFAULT + 1)
    parser.add_argument("--rows", type=int, default=220_000, help=f"{least:,} or more")
    parser.add_argument("--runs", type=int, default=200, help="of each page")
    options = Options(**vars(parser.parse_known_args()[0]))
    if options.rows < least:
        parser.error(f"the large user needs {FAR_PAGE:,} pages: --rows {least} or more")
    return options


def main() -> None:
    options = read_options()
    show_machine()
    with postgres_cluster() as cluster, Databases(cluster).database() as url:
        asyncio.run(run(url, options))


if __name__ == "__main__":
    main()
