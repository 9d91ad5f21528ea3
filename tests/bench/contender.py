"""One way to consume a topic, in a process of its own: prints events, seconds and CPU seconds as JSON.

All do the same work: decode each record and remember its number; what they differ in is what lies around it.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import faust
import msgspec
from aiokafka import AIOKafkaConsumer

from runtime.kafka import stop_client
from runtime.process import ProcessContext
from runtime.publisher import Message
from runtime.settings import KafkaSettings
from runtime.streams.record import StreamRecord
from runtime.streams.service import Stage, StreamSettings, run_stages


class Event(msgspec.Struct):
    number: int
    filler: str


_DECODER = msgspec.json.Decoder(Event)


@dataclass
class Course:
    """From the first event to the last; the start of the client is no part of it."""

    events: int
    seen: set[int] = field(default_factory=set)
    began_s: float = 0.0
    cpu_began_s: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def work(self, value: bytes) -> None:
        if not self.seen:
            self.began_s, self.cpu_began_s = time.perf_counter(), cpu_s()
        self.seen.add(_DECODER.decode(value).number)
        if len(self.seen) == self.events:
            self.done.set()

    def figures(self) -> dict[str, float]:
        return {
            "events": self.events,
            "seconds": time.perf_counter() - self.began_s,
            "cpu_s": cpu_s() - self.cpu_began_s,
        }


def cpu_s() -> float:
    """Of all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class NoPublisher:
    """Nothing fails here, so nothing is published."""

    async def publish(self, messages: Sequence[Message]) -> None:
        raise AssertionError(messages)


@asynccontextmanager
async def ours(bootstrap: str, topic: str, course: Course) -> AsyncIterator[None]:
    async def work(records: Sequence[StreamRecord]) -> None:
        for record in records:
            course.work(record.value)

    kafka = KafkaSettings.model_validate({"bootstrap": bootstrap})
    settings = StreamSettings("bench-ours", kafka)
    stages = [Stage("bench", (topic,), work)]
    async with run_stages(settings, stages, NoPublisher(), ProcessContext()):
        yield


@asynccontextmanager
async def plain(bootstrap: str, topic: str, course: Course) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            "bench-plain",
            broker=f"kafka://{bootstrap}",
            value_serializer="raw",
            store="memory://",
            datadir=folder,
            web_enabled=False,
            topic_disable_leader=True,
        )

        async def count(stream: faust.Stream[bytes]) -> None:
            async for event in stream.events():
                course.work(event.value)

        app.agent(app.topic(topic, value_type=bytes))(count)
        app.finalize()
        await app.start()
        yield
        await app.stop()


@asynccontextmanager
async def bare(bootstrap: str, topic: str, course: Course) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id="bench-bare",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )

    async def consume() -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=1000, max_records=500)).values():
                for record in records:
                    course.work(record.value)
            await consumer.commit()

    await consumer.start()
    consuming = asyncio.create_task(consume())
    try:
        yield
    finally:
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
        await stop_client(consumer.stop())


def contender(name: str, bootstrap: str, topic: str, course: Course) -> AbstractAsyncContextManager[None]:
    return {"plain Faust": plain, "ours": ours, "bare aiokafka": bare}[name](bootstrap, topic, course)


async def main(name: str, bootstrap: str, topic: str, events: int) -> None:
    course = Course(events)
    async with contender(name, bootstrap, topic, course), asyncio.timeout(120):
        await course.done.wait()
        figures = course.figures()
    print(json.dumps(figures))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
