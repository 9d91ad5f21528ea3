"""What one tenant at 50 times its rate costs its neighbours, from raw record to committed row.

Open loop: records are published on a schedule, straight to their lanes' topics, and each latency counts from
its scheduled moment to its row's commit, as the database noted it. Processors and sink are real processes.
PROCESS_OVERFLOW_RATE_PER_S chooses another pace.
"""

import asyncio
import os
import platform
import signal
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from deploy.local.ports import Ports
from deploy.local.postgres import SETTINGS, PostgresCluster
from processors.lanes import ROUTES
from processors.settings import ProcessSection
from runtime.clock import SystemClock
from runtime.environment import process_environment
from runtime.ids import SignalIds, received_at_of
from runtime.kafka import create_producer
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings, load_section
from schemas.headers import WebhookMetadata, webhook_headers
from schemas.plans import PLAN_TERMS, Plan
from schemas.records import Lane
from sinks.migrate import migrate
from tests.support.pipeline import role_process
from tests.support.stack import free_port, kafka_node, running, temporary_folder
from tests.support.tenants import Customer, create_local_topics, insert_tenant, kafka_settings, new_customer

NEIGHBOURS: Final = 4
RATE_PER_S: Final = PLAN_TERMS[Plan.PREMIUM].rate_per_s
TIMES: Final = 50
WARM_S: Final = 3
TURNS: Final = 5
TURN_S: Final = 3
SETTLE_S: Final = 0.5
TICK_S: Final = 0.01
PATIENCE_S: Final = 20
BODY: Final = b'{"ticker": "BINANCE:ETHUSDT", "price": "3456.7", "action": "buy", "text": "%s"}' % (
    b"x" * 400
)
COMMITTED: Final = (
    "SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at_s"
    " FROM audit_logs WHERE id = ANY($1::uuid[])"
)


@dataclass(frozen=True)
class Bench:
    """A running path. `overflow` is the process of the lane."""

    producers: Mapping[Lane, AIOKafkaProducer]
    pool: Pool
    ids: SignalIds
    neighbours: list[Customer]
    flooder: Customer
    overflow: "subprocess.Popen[bytes]"

    async def publish(self, lane: Lane, customer: Customer) -> tuple[UUID, "asyncio.Future[object]"]:
        signal_id = self.ids.mint()
        received_at = received_at_of(signal_id)
        metadata = WebhookMetadata(
            signal_id, received_at, "192.0.2.7", "Go-http-client/1.1", "application/json", "", 1, len(BODY)
        )
        ack = await self.producers[lane].send(
            ROUTES[lane].source.name, BODY, key=customer.key, headers=webhook_headers(metadata)
        )
        return signal_id, ack

    async def load(self, seconds: float, flood_per_s: int = 0) -> list[float]:
        """Latencies of the neighbours in ms, each at its full rate, beside a flood through the overflow."""
        sent: dict[UUID, float] = {}
        first_s = time.perf_counter()
        wall_s = time.time() - first_s  # noqa: TID251 - compared with the database's clock
        neighbours = self.neighbours * int(RATE_PER_S * seconds)
        acks = []

        async def flood() -> None:
            published = 0
            while (passed_s := time.perf_counter() - first_s) < seconds:
                while published < passed_s * flood_per_s:
                    published += 1
                    acks.append((await self.publish(Lane.OVERFLOW, self.flooder))[1])
                await asyncio.sleep(TICK_S)

        async with asyncio.TaskGroup() as group:
            group.create_task(flood())
            for number, customer in enumerate(neighbours):
                due_s = first_s + number * seconds / len(neighbours)
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                signal_id, ack = await self.publish(Lane.MAIN, customer)
                sent[signal_id] = wall_s + due_s
                acks.append(ack)
        await asyncio.gather(*acks)
        return await self._latencies_ms(sent)

    async def _latencies_ms(self, sent: Mapping[UUID, float]) -> list[float]:
        async with asyncio.timeout(PATIENCE_S):
            while len(rows := await self.pool.fetch(COMMITTED, list(sent))) < len(sent):  # noqa: ASYNC110 - rows have no event
                await asyncio.sleep(0.1)
        return [(row["at_s"] - sent[row["id"]]) * 1000 for row in rows]

    async def stored_of_flooder(self) -> int:
        query = "SELECT count(*) FROM signals WHERE user_id = $1"
        return int(await self.pool.fetchval(query, self.flooder.tenant.user_id))


def main() -> None:
    rate_per_s = load_section(ProcessSection, process_environment()).overflow_rate_per_s
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"load before: {os.getloadavg()[0]:.1f}; overflow lane at {rate_per_s:g} records/s")
    with ExitStack() as stack:
        bootstrap = stack.enter_context(kafka_node()).bootstrap
        url = stack.enter_context(database())
        asyncio.run(prepare(bootstrap, url))
        variables = {"KAFKA_BOOTSTRAP": bootstrap, "DATABASE_URL": url}
        for instance in ("sink", "process"):
            stack.enter_context(role_process(instance, variables))
        overflow = stack.enter_context(role_process("process-overflow", variables))
        asyncio.run(measure(bootstrap, url, overflow))


@contextmanager
def database() -> Iterator[str]:
    """A server as the local stack runs it, that also notes when each transaction was committed."""
    ports = Ports()
    settings = {**SETTINGS, "track_commit_timestamp": "on"}
    with temporary_folder("bench") as folder:
        password = SecretStr("postgres-bench-password")
        cluster = PostgresCluster.open(
            folder / "cluster", free_port(ports), password, folder / "log", settings
        )
        try:
            asyncio.run(cluster.prepare())
            with running(cluster.program(), cluster.check):
                yield cluster.url()
        finally:
            cluster.close()
            ports.close()


async def prepare(bootstrap: str, url: str) -> None:
    await migrate(url)
    await create_local_topics(bootstrap)


async def measure(bootstrap: str, url: str, overflow: "subprocess.Popen[bytes]") -> None:
    neighbours = [new_customer() for _ in range(NEIGHBOURS)]
    flooder = new_customer()
    async with (
        open_pool(PostgresSettings.model_validate({"url": url}), "bench") as pool,
        producing(create_producer(kafka_settings(bootstrap), "bench")) as one_by_one,
        # the flood itself is no part of the comparison: it may be cheap to make
        producing(AIOKafkaProducer(bootstrap_servers=bootstrap, acks=1, linger_ms=50)) as in_batches,
    ):
        for customer in (*neighbours, flooder):
            await insert_tenant(pool, customer)
        producers = {Lane.MAIN: one_by_one, Lane.OVERFLOW: in_batches}
        await compare(Bench(producers, pool, SignalIds(SystemClock()), neighbours, flooder, overflow))


@asynccontextmanager
async def producing(producer: AIOKafkaProducer) -> AsyncIterator[AIOKafkaProducer]:
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def compare(bench: Bench) -> None:
    """Turn about, so that whatever else this machine does falls on both sides alike.

    In the quiet turns the overflow lane's process is frozen, with the rest of the flood before it.
    """
    flood_per_s = TIMES * RATE_PER_S
    await bench.load(WARM_S, flood_per_s=RATE_PER_S)
    alone, flooded, stored = [], [], await bench.stored_of_flooder()
    for _ in range(TURNS):
        bench.overflow.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SETTLE_S)
        alone += await bench.load(TURN_S)
        bench.overflow.send_signal(signal.SIGCONT)
        await asyncio.sleep(SETTLE_S)
        flooded += await bench.load(TURN_S, flood_per_s=flood_per_s)
    stored = await bench.stored_of_flooder() - stored
    print(f"{NEIGHBOURS} tenants at {RATE_PER_S}/s each, raw record to committed row:")
    print(f"  alone                     {figures(alone)}")
    print(f"  another at {flood_per_s}/s       {figures(flooded)} ({stored} of its rows stored meanwhile)")
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        print(f"  {name}: {quantile(flooded, share) / quantile(alone, share):.2f} × that of alone")


def figures(values: Sequence[float]) -> str:
    return f"p50 {statistics.median(values):.1f} ms, p99 {quantile(values, 0.99):.1f} ms"


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
