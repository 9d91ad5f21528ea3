"""Messages a second of a processor: plain Faust and our harness, on the same parsing, each beside one broker.

Both read the same raw webhooks, parse and enrich them, and publish signals. A process each; the first record
starts the clock, the last acknowledgement of a published signal ends it.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

import faust
import msgspec
from aiokafka import AIOKafkaProducer

from processors.indicators import load_indicators
from processors.stage import ProcessorStage
from runtime.clock import SystemClock
from runtime.ids import SignalIds
from runtime.metrics import create_metrics
from runtime.process import ProcessContext
from runtime.publisher import KafkaPublisher, Message, Publisher, open_publisher
from runtime.streams.record import StreamRecord, TopicPartition
from runtime.streams.service import Stage, StreamSettings, run_stages
from runtime.tenants import TenantDirectory
from schemas.records import Tenant
from schemas.topics import SIGNALS, WEBHOOKS_RAW
from tests.bench.alerts import LABELLED, headers_of
from tests.bench.contender import cpu_s
from tests.support.stack import kafka_node
from tests.support.tenants import create_local_topics, kafka_settings, new_customer

EVENTS: Final = 40_000
TENANTS: Final = 20
CONTENDERS: Final = ("plain Faust", "ours")


@dataclass
class Course:
    """From the first record taken to the last signal acknowledged."""

    done_count: int = 0
    began_s: float = 0.0
    cpu_began_s: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        if not self.began_s:
            self.began_s, self.cpu_began_s = time.perf_counter(), cpu_s()

    def finished(self, records: int) -> None:
        self.done_count += records
        if self.done_count >= EVENTS:
            self.done.set()

    def figures(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self.began_s, "cpu_s": cpu_s() - self.cpu_began_s}


class NoPublisher:
    """Of the contender that sends by Faust itself."""

    async def publish(self, messages: Sequence[Message]) -> None:
        raise AssertionError(messages)


def stage_of(directory: TenantDirectory, publisher: Publisher) -> ProcessorStage:
    indicators = load_indicators(Path(str(resources.files("processors") / "indicators")))
    return ProcessorStage(directory, indicators, publisher, create_metrics(), SystemClock())


@asynccontextmanager
async def ours(bootstrap: str, directory: TenantDirectory, course: Course) -> AsyncIterator[None]:
    kafka = kafka_settings(bootstrap)
    async with open_publisher(kafka, "bench-ours") as publisher:
        stage = stage_of(directory, publisher)

        async def work(records: Sequence[StreamRecord]) -> None:
            course.begin()
            await stage.work(records)
            course.finished(len(records))

        stages = [Stage("bench", (WEBHOOKS_RAW.name,), work)]
        async with run_stages(StreamSettings("bench-ours", kafka), stages, publisher, ProcessContext()):
            yield


@asynccontextmanager
async def plain(bootstrap: str, directory: TenantDirectory, course: Course) -> AsyncIterator[None]:
    """As Faust's manual has it: one event after the other, sent by the app's own producer."""
    stage = stage_of(directory, NoPublisher())
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            "bench-plain",
            broker=f"kafka://{bootstrap}",
            value_serializer="raw",
            key_serializer="raw",
            store="memory://",
            datadir=folder,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
        )
        output = app.topic(SIGNALS.name, value_type=bytes, key_type=bytes)

        async def parse(stream: faust.Stream[bytes]) -> None:
            async for event in stream.events():
                course.begin()
                _label, message = stage._outcome(record_of(event))
                assert message is not None
                sent = await output.send(key=message.key, value=message.value, headers=message.headers)
                sent.add_done_callback(lambda _sent: course.finished(1))

        app.agent(app.topic(WEBHOOKS_RAW.name, value_type=bytes))(parse)
        app.finalize()
        await app.start()
        yield
        await app.stop()


def record_of(event: Any) -> StreamRecord:
    message = event.message
    source = TopicPartition(message.topic, message.partition)
    headers = tuple(message.headers.items() if isinstance(message.headers, dict) else message.headers)
    return StreamRecord(source, message.offset, 0, 0, message.key, event.value, headers)


def contender(
    name: str, bootstrap: str, directory: TenantDirectory, course: Course
) -> AbstractAsyncContextManager[None]:
    return {"plain Faust": plain, "ours": ours}[name](bootstrap, directory, course)


async def compete(name: str, bootstrap: str, tenants: list[Tenant]) -> None:
    directory, course = TenantDirectory(), Course()
    for tenant in tenants:
        directory.apply(tenant)
    async with contender(name, bootstrap, directory, course), asyncio.timeout(150):
        await course.done.wait()
        figures = course.figures()
    print(json.dumps(figures))


async def fill(bootstrap: str, tenants: Sequence[Tenant]) -> None:
    await create_local_topics(bootstrap)
    ids = SignalIds(SystemClock())
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=20)
    await producer.start()
    try:
        for number in range(0, EVENTS, 500):
            await KafkaPublisher(producer).publish(
                [raw(ids, tenants[(number + more) % TENANTS]) for more in range(500)]
            )
    finally:
        await producer.stop()


def raw(ids: SignalIds, tenant: Tenant) -> Message:
    headers = headers_of(ids.mint(), LABELLED)
    return Message(WEBHOOKS_RAW.name, str(tenant.user_id).encode(), LABELLED, headers)


def main() -> None:
    tenants = [new_customer().tenant for _ in range(TENANTS)]
    with kafka_node() as node:
        asyncio.run(fill(node.bootstrap, tenants))
        figures = {name: measure(name, node.bootstrap, tenants) for name in CONTENDERS}
    for name, figure in figures.items():
        cpu_us = 1e6 * figure["cpu_s"] / EVENTS
        ratio = figures["plain Faust"]["seconds"] / figure["seconds"]
        rate = EVENTS / figure["seconds"]
        print(f"{name:12} {rate:8,.0f} alerts/s {cpu_us:7.1f} µs CPU/alert {ratio:5.1f} × plain")


def measure(name: str, bootstrap: str, tenants: Sequence[Tenant]) -> dict[str, float]:
    known = msgspec.json.encode(tenants).decode()
    command = [sys.executable, "-m", "tests.bench.bench_processors", name, bootstrap, known]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=180)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        warnings.simplefilter("ignore")
        known = msgspec.json.decode(sys.argv[3], type=list[Tenant])
        asyncio.run(compete(sys.argv[1], sys.argv[2], known))
