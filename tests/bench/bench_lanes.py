"""What one tenant at 50 times its rate costs its neighbours, from raw record to committed row.

Open loop: records are published on a schedule, straight to their lanes' topics, and each latency counts from
its scheduled moment to its row's commit, as the database noted it. Processors and sink are real processes.
PROCESS_OVERFLOW_RATE_PER_S chooses another pace.
"""

import asyncio
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from deploy.local.ports import Ports
from deploy.local.postgres import SETTINGS, PostgresCluster
from processors.settings import ProcessSection
from runtime.clock import SystemClock
from runtime.environment import process_environment
from runtime.ids import SignalIds
from runtime.kafka import create_producer
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings, load_section
from schemas.plans import PLAN_TERMS, Plan
from schemas.topics import WEBHOOKS_RAW
from sinks.migrate import migrate
from tests.bench.alerts import BODY, headers_of
from tests.support.pipeline import role_process
from tests.support.stack import ROOT, free_port, kafka_node, running, temporary_folder
from tests.support.tenants import Customer, create_local_topics, insert_tenant, kafka_settings, new_customer

NEIGHBOURS: Final = 4
RATE_PER_S: Final = PLAN_TERMS[Plan.PREMIUM].rate_per_s
TIMES: Final = 50
WARM_S: Final = 15
TURNS: Final = 10
TURN_S: Final = 3
SETTLE_S: Final = 0.5
RESAMPLINGS: Final = 400
PATIENCE_S: Final = 20
COMMITTED: Final = (
    "SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at_s"
    " FROM audit_logs WHERE id = ANY($1::uuid[])"
)

Turn = tuple[list[float], list[float]]
"""Latencies alone and beside the flood, ms."""


@dataclass(frozen=True)
class Bench:
    """A running path. `overflow` is the process of the lane."""

    producer: AIOKafkaProducer
    pool: Pool
    ids: SignalIds
    neighbours: list[Customer]
    flooder: "Flooder"
    overflow: "subprocess.Popen[bytes]"

    async def publish(self, customer: Customer) -> tuple[UUID, "asyncio.Future[object]"]:
        signal_id = self.ids.mint()
        ack = await self.producer.send(
            WEBHOOKS_RAW.name, BODY, key=customer.key, headers=headers_of(signal_id)
        )
        return signal_id, ack

    async def load(self, seconds: float, flood_per_s: int = 0) -> list[float]:
        """Latencies of the neighbours in ms, each at its full rate, beside a flood through the overflow."""
        sent: dict[UUID, float] = {}
        first_s = time.perf_counter()
        wall_s = time.time() - first_s  # noqa: TID251 - compared with the database's clock
        neighbours = self.neighbours * int(RATE_PER_S * seconds)
        acks = []
        if flood_per_s:
            self.flooder.begin(seconds, flood_per_s)
        for number, customer in enumerate(neighbours):
            due_s = first_s + number * seconds / len(neighbours)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            signal_id, ack = await self.publish(customer)
            sent[signal_id] = wall_s + due_s
            acks.append(ack)
        await asyncio.gather(*acks)
        if flood_per_s:
            await asyncio.to_thread(self.flooder.ended)
        return await self._latencies_ms(sent)

    async def _latencies_ms(self, sent: Mapping[UUID, float]) -> list[float]:
        async with asyncio.timeout(PATIENCE_S):
            while len(rows := await self.pool.fetch(COMMITTED, list(sent))) < len(sent):  # noqa: ASYNC110 - rows have no event
                await asyncio.sleep(0.1)
        return [(row["at_s"] - sent[row["id"]]) * 1000 for row in rows]

    async def stored_of_flooder(self) -> int:
        query = "SELECT count(*) FROM signals WHERE user_id = $1"
        return int(await self.pool.fetchval(query, self.flooder.customer.tenant.user_id))


@dataclass(frozen=True)
class Flooder:
    """A tenant whose alerts come from a process of their own."""

    customer: Customer
    process: "subprocess.Popen[str]"

    def begin(self, seconds: float, rate_per_s: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds} {rate_per_s}\n")
        self.process.stdin.flush()

    def ended(self) -> None:
        assert self.process.stdout is not None
        assert int(self.process.stdout.readline()) > 0


@contextmanager
def flooding(bootstrap: str, customer: Customer) -> Iterator[Flooder]:
    user_id = str(customer.tenant.user_id)
    command = [sys.executable, "-m", "tests.bench.flooder", bootstrap, user_id]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            yield Flooder(customer, process)
        finally:
            process.kill()


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
        producing(create_producer(kafka_settings(bootstrap), "bench")) as producer,
    ):
        for customer in (*neighbours, flooder):
            await insert_tenant(pool, customer)
        with flooding(bootstrap, flooder) as flood:
            await compare(Bench(producer, pool, SignalIds(SystemClock()), neighbours, flood, overflow))


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
    await bench.load(WARM_S, flood_per_s=TIMES * RATE_PER_S)
    turns, stored = [], await bench.stored_of_flooder()
    for _ in range(TURNS):
        bench.overflow.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SETTLE_S)
        alone = await bench.load(TURN_S)
        bench.overflow.send_signal(signal.SIGCONT)
        await asyncio.sleep(SETTLE_S)
        turns.append((alone, await bench.load(TURN_S, flood_per_s=flood_per_s)))
    stored = await bench.stored_of_flooder() - stored
    show(turns, flood_per_s, stored)


def show(turns: Sequence[Turn], flood_per_s: int, stored: int) -> None:
    alone, flooded = (list(chain.from_iterable(side)) for side in zip(*turns, strict=True))
    print(f"{NEIGHBOURS} tenants at {RATE_PER_S}/s each, raw record to committed row:")
    print(f"  alone                     {figures(alone)}")
    print(f"  another at {flood_per_s}/s       {figures(flooded)} ({stored} of its rows stored meanwhile)")
    for name, share in (("p50", 0.50), ("p90", 0.90), ("p99", 0.99)):
        least, most = likely(turns, share)
        print(f"  {name}: {times(turns, share):.2f} × that of alone", end="; ")
        print(f"in nine of ten resamplings {least:.2f} to {most:.2f}")


def times(turns: Sequence[Turn], share: float) -> float:
    """How many times as long it takes beside the flood, at this quantile of all turns."""
    alone, flooded = (quantile(list(chain.from_iterable(side)), share) for side in zip(*turns, strict=True))
    return flooded / alone


def likely(turns: Sequence[Turn], share: float) -> tuple[float, float]:
    """Between what the figure would lie if these turns had come as often as chance has it."""
    chance = random.Random(0)
    drawn = [times(chance.choices(turns, k=len(turns)), share) for _ in range(RESAMPLINGS)]
    return quantile(drawn, 0.05), quantile(drawn, 0.95)


def figures(values: Sequence[float]) -> str:
    return f"p50 {statistics.median(values):.1f} ms, p99 {quantile(values, 0.99):.1f} ms"


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
