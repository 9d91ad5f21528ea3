"""Rows a second and CPU a row of the sink, on one server.

Its store code alone, beside other ways to bring the rows to it; the whole role on records that wait on the
topic; plain loops on the same records, which write the signals alone. `--rows 200000` for full figures.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

import asyncpg

from deploy.local.postgres import PostgresCluster
from runtime.clock import SystemClock, utc_now
from runtime.consumer_groups import commit_offsets
from runtime.logging import setup_logging
from runtime.postgres import Pool
from runtime.settings import LoggingSettings
from schemas.groups import GROUPS
from schemas.topics import SIGNALS
from sinks.store import AcceptedSignal, SignalStore
from tests.bench.contender import cpu_s
from tests.bench.report import cpu_s_of, show_machine, show_table
from tests.bench.sink_contender import CONTENDERS
from tests.bench.store_load import (
    BATCH,
    customers_of,
    insert_customers,
    pool_of,
    publish_customers,
    publish_signals,
    server_pid,
    signals_of,
    sink_login,
)
from tests.bench.store_sources import STORES
from tests.support.broker import lag, partitions_of
from tests.support.processes import descendants
from tests.support.role_process import RoleProcess, role_processes
from tests.support.stack import ROOT, Databases, kafka_node, postgres_cluster, temporary_folder
from tests.support.tenants import Customer, create_local_topics, kafka_settings

WARM_ROWS: Final = 12 * BATCH
_POLL_S: Final = 0.02
_DEADLINE_S: Final = 300
_STORED: Final = "SELECT coalesce(sum(signals_used), 0) FROM user_usage"
PLAIN: Final = "aiokafka + asyncpg, unnest"
PLAIN_THERE_PER_S: Final = 57_000
# two batches at a time, as in the role
GOALS_PER_S: Final = (("store alone, 2 conn., JSON", 50_000), ("whole role, captures off", 25_000))
TITLES: Final = ("what", "rows/s", "µs CPU/row", "of it in Postgres")


@dataclass(frozen=True)
class Options:
    rows: int
    tenants: int
    connections: list[int]


@dataclass(frozen=True)
class Figures:
    rows: int
    seconds: float
    client_cpu_s: float
    server_cpu_s: float

    @property
    def per_s(self) -> float:
        return self.rows / self.seconds

    def cells(self, name: str) -> tuple[str, ...]:
        total_us = 1e6 * (self.client_cpu_s + self.server_cpu_s) / self.rows
        server_us = 1e6 * self.server_cpu_s / self.rows
        return name, f"{self.per_s:,.0f}", f"{total_us:.1f}", f"{server_us:.1f}"


Line = tuple[str, Figures]


class Server:
    """A cluster that hands out databases, and the processor time all its processes have used."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self._pid = server_pid(cluster)
        self._databases = Databases(cluster)

    @contextmanager
    def database(self, customers: Sequence[Customer], *, captures: bool = False) -> Iterator[tuple[str, str]]:
        """URLs of the owner and of the sink."""
        with self._databases.database() as url:
            asyncio.run(insert_customers(url, customers, captures=captures))
            yield url, asyncio.run(sink_login(url))

    def cpu_s(self) -> float:
        return sum(cpu_s_of(pid) for pid in [self._pid, *descendants(self._pid)])


async def measure_store(
    server: Server,
    store: Callable[[Pool], SignalStore],
    url: str,
    connections: int,
    rows: Sequence[AcceptedSignal],
) -> Figures:
    """One process; each connection writes batches of tenants of its own, as the role does on a backlog."""
    portions = [batches_of(rows, number, connections) for number in range(connections)]
    async with pool_of(url, connections) as pool:
        written = store(pool)

        async def write(batches: Iterable[Sequence[AcceptedSignal]]) -> int:
            now = utc_now(SystemClock())
            return sum([(await written.insert(batch, now)).inserted for batch in batches])

        # until statements are prepared and plans chosen
        warming = [islice(batches, WARM_ROWS // BATCH // connections) for batches in portions]
        await asyncio.gather(*map(write, warming))
        began_s, client_s, server_s = time.perf_counter(), cpu_s(), server.cpu_s()
        count = sum(await asyncio.gather(*map(write, portions)))
        return Figures(count, time.perf_counter() - began_s, cpu_s() - client_s, server.cpu_s() - server_s)


def batches_of(rows: Sequence[AcceptedSignal], number: int, count: int) -> Iterator[Sequence[AcceptedSignal]]:
    """Those of every `count`th tenant."""
    own = [item for item in rows if item.signal.user_id.int % count == number]
    return iter([own[first : first + BATCH] for first in range(0, len(own), BATCH)])


def measure_role(server: Server, bootstrap: str, urls: tuple[str, str], rows: int) -> tuple[Figures, float]:
    """From the first rows in the table to the last ones; then the seconds until the group has caught up."""
    values = {
        "KAFKA_BOOTSTRAP": bootstrap,
        "KAFKA_TOPIC_PROFILE": "local",
        "KAFKA_REPLICATION": "1",
        "DATABASE_URL": urls[1],
        "SINK_OWNER_URL": urls[0],
    }
    with temporary_folder("bench") as folder:
        role = RoleProcess("sink", ("sink",), values, folder)
        with role_processes(role):
            measured = asyncio.run(_watch(server, role, bootstrap, urls[0], rows))
            # it leaves its group, which the next one is to find empty
            role.terminate()
            return measured


async def _watch(
    server: Server, role: RoleProcess, bootstrap: str, url: str, rows: int
) -> tuple[Figures, float]:
    assert role.process is not None
    pid = role.process.pid
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            first = await _stored(connection, 1)
            began_s, client_s, server_s = time.perf_counter(), cpu_s_of(pid), server.cpu_s()
            last = await _stored(connection, rows)
            figures = Figures(
                last - first,
                time.perf_counter() - began_s,
                cpu_s_of(pid) - client_s,
                server.cpu_s() - server_s,
            )
            stored_at_s = time.perf_counter()
            while await lag(bootstrap, GROUPS[SIGNALS], SIGNALS.name):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(_POLL_S)
    finally:
        connection.terminate()
    return figures, time.perf_counter() - stored_at_s


async def _stored(connection: asyncpg.Connection, wanted: int) -> int:
    """Waits for that many rows; how many there are then."""
    while (count := int(await connection.fetchval(_STORED))) < wanted:  # noqa: ASYNC110 - likewise
        await asyncio.sleep(_POLL_S)
    return count


def measure_plain(name: str, server: Server, bootstrap: str, url: str, rows: int) -> Figures:
    server_s = server.cpu_s()
    command = [sys.executable, "-m", "tests.bench.sink_contender", name, bootstrap, url, str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=_DEADLINE_S, cwd=ROOT)
    figures = json.loads(done.stdout.splitlines()[-1])
    return Figures(rows, figures["seconds"], figures["cpu_s"], server.cpu_s() - server_s)


async def prepare(bootstrap: str, customers: Sequence[Customer], rows: Sequence[AcceptedSignal]) -> None:
    await create_local_topics(bootstrap)
    await publish_customers(bootstrap, customers)
    await publish_signals(bootstrap, rows)


async def rewind(bootstrap: str) -> None:
    places = await partitions_of(bootstrap, SIGNALS.name)
    await commit_offsets(kafka_settings(bootstrap), GROUPS[SIGNALS], dict.fromkeys(places, 0))


def stores(server: Server, customers: Sequence[Customer], options: Options) -> Iterator[Line]:
    for connections in options.connections:
        for name, store in STORES.items():
            rows = signals_of(customers, options.rows + WARM_ROWS)
            with server.database(customers) as urls:
                figures = asyncio.run(measure_store(server, store, urls[1], connections, rows))
            yield f"store alone, {connections} conn., {name}", figures


def roles(server: Server, bootstrap: str, customers: Sequence[Customer], rows: int) -> Iterator[Line]:
    for name, captures in [("captures off", False), ("captures asked for", True)]:
        asyncio.run(rewind(bootstrap))
        with server.database(customers, captures=captures) as urls:
            figures, behind_s = measure_role(server, bootstrap, urls, rows)
        yield f"whole role, {name} (acknowledged {behind_s:.1f} s later)", figures


def plain_loops(server: Server, bootstrap: str, customers: Sequence[Customer], rows: int) -> Iterator[Line]:
    for name in CONTENDERS:
        with server.database(customers) as urls:
            yield f"signals alone: {name}", measure_plain(name, server, bootstrap, urls[0], rows)


def show_goals(lines: Sequence[Line]) -> None:
    """By the plain loop of the same run: it did 57,000 rows/s where the goals were set."""
    plain = next(figures for name, figures in lines if name == f"signals alone: {PLAIN}")
    for begin, goal_per_s in GOALS_PER_S:
        goal = goal_per_s / PLAIN_THERE_PER_S
        for share in [figures.per_s / plain.per_s for name, figures in lines if name.startswith(begin)]:
            met = "met   " if share >= goal else "MISSED"
            print(f"{met}  {begin}: {share:.0%} of the plain loop, goal {goal:.0%} ({goal_per_s:,}/s there)")


def read_options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="of each contender, 10,000 or more")
    parser.add_argument("--tenants", type=int, default=300)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 2])
    return Options(**vars(parser.parse_known_args()[0]))


def main() -> None:
    options = read_options()
    setup_logging(LoggingSettings(level="error", format="auto"), "bench")
    show_machine()
    customers = customers_of(options.tenants)
    with kafka_node() as node, postgres_cluster() as cluster:
        server = Server(cluster)
        asyncio.run(prepare(node.bootstrap, customers, signals_of(customers, options.rows)))
        lines = [
            *stores(server, customers, options),
            *roles(server, node.bootstrap, customers, options.rows),
            *plain_loops(server, node.bootstrap, customers, options.rows),
        ]
    print(f"{options.rows:,} rows each, batches of {BATCH}, {options.tenants} tenants, server without fsync")
    show_table(TITLES, [figures.cells(name) for name, figures in lines])
    show_goals(lines)


if __name__ == "__main__":
    main()
