"""Plain ways to bring the topic of signals into its table: no quota, no audit, no ledger.

A process each: `python -m tests.bench.sink_contender NAME BOOTSTRAP DATABASE_URL RECORDS` prints seconds and
CPU seconds as JSON.
"""

import asyncio
import json
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import faust
from aiokafka import AIOKafkaConsumer

from runtime.kafka import stop_client
from schemas.codec import decode
from schemas.records import Signal
from schemas.topics import SIGNALS
from tests.bench.contender import cpu_s
from tests.bench.store_load import BATCH
from tests.bench.store_sources import SOURCES, columns_of, signal_row

TAKE_WITHIN_S: Final = 0.1
DEADLINE_S: Final = 120

Write = Callable[[asyncpg.Connection, Sequence[bytes]], Awaitable[None]]


async def write_unnest(connection: asyncpg.Connection, values: Sequence[bytes]) -> None:
    rows = [signal_row(decode(value, Signal)) for value in values]
    await connection.execute(SOURCES["plain_unnest"], *columns_of(rows))


async def write_json(connection: asyncpg.Connection, values: Sequence[bytes]) -> None:
    for value in values:
        decode(value, Signal)
    await connection.execute(SOURCES["plain_json"], (b"[" + b",".join(values) + b"]").decode())


@dataclass
class Course:
    """From the first record taken to the commit of the last one's row."""

    connection: asyncpg.Connection
    write: Write
    records: int
    began_s: float = 0.0
    cpu_began_s: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _written: int = 0

    async def work(self, values: Sequence[bytes]) -> None:
        if not self.began_s:
            self.began_s, self.cpu_began_s = time.perf_counter(), cpu_s()
        await self.write(self.connection, values)
        self._written += len(values)
        if self._written >= self.records:
            self.done.set()

    def figures(self) -> dict[str, float]:
        if self._written < self.records:
            raise AssertionError(f"only {self._written} records were written")
        return {"seconds": time.perf_counter() - self.began_s, "cpu_s": cpu_s() - self.cpu_began_s}


@asynccontextmanager
async def bare(bootstrap: str, course: Course) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        SIGNALS.name,
        bootstrap_servers=bootstrap,
        group_id=f"bench-{course.write.__name__}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )

    async def consume() -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=1000, max_records=BATCH)).values():
                await course.work([record.value for record in records])
            await consumer.commit()

    await consumer.start()
    consuming = asyncio.create_task(consume())
    consuming.add_done_callback(lambda _: course.done.set())
    try:
        yield
    finally:
        consuming.cancel()
        [failure] = await asyncio.gather(consuming, return_exceptions=True)
        if isinstance(failure, Exception):
            sys.stderr.write(f"{failure!r}\n")
        await stop_client(consumer.stop())


@asynccontextmanager
async def plain(bootstrap: str, course: Course) -> AsyncIterator[None]:
    """As Faust's manual has it: an agent that takes batches of its stream."""
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            "bench-plain-sink",
            broker=f"kafka://{bootstrap}",
            value_serializer="raw",
            store="memory://",
            datadir=folder,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
        )

        async def store(stream: faust.Stream[bytes]) -> None:
            async for values in stream.take(BATCH, within=TAKE_WITHIN_S):
                await course.work(values)

        app.agent(app.topic(SIGNALS.name, value_type=bytes))(store)
        app.finalize()
        await app.start()
        yield
        await app.stop()


CONTENDERS: Final[Mapping[str, tuple[Callable[..., object], Write]]] = {
    "aiokafka + asyncpg, unnest": (bare, write_unnest),
    "aiokafka + asyncpg, JSON": (bare, write_json),
    "plain Faust, unnest": (plain, write_unnest),
}


async def compete(name: str, bootstrap: str, url: str, records: int) -> None:
    client, write = CONTENDERS[name]
    connection = await asyncpg.connect(url)
    try:
        course = Course(connection, write, records)
        async with (plain if client is plain else bare)(bootstrap, course), asyncio.timeout(DEADLINE_S):
            await course.done.wait()
            figures = course.figures()
    finally:
        connection.terminate()
    print(json.dumps(figures))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(compete(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
