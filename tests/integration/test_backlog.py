"""The backlog of captures as a real broker tells it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.ports import Ports
from runtime.backlog import CAPTURE_GROUP, Backlog, open_backlog
from runtime.clock import SystemClock
from runtime.kafka import stop_client
from runtime.process import ProcessContext
from schemas.plans import Plan
from schemas.topics import CAPTURES
from tests.support.broker import produce
from tests.support.stack import free_port
from tests.support.tenants import create_local_topics, kafka_settings

PATIENCE_S = 30


class RoundClock(SystemClock):
    """Between two measurements it sleeps for a moment only, and tells that a round is over."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self.rounds = 0

    async def sleep(self, seconds: float) -> None:
        self.rounds += 1
        self._over.set()
        await super().sleep(min(seconds, 0.02))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._over.clear()
                await self._over.wait()


@asynccontextmanager
async def measured(bootstrap: str) -> AsyncIterator[tuple[Backlog, RoundClock]]:
    clock = RoundClock()
    context = ProcessContext(clock=clock)
    async with open_backlog(kafka_settings(bootstrap), context) as backlog:
        yield backlog, clock
        assert not context.failed.done()


async def commit_all(bootstrap: str, plan: Plan, partition: int) -> None:
    """As a worker would that has finished everything."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=CAPTURE_GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(CAPTURES[plan].name, partition)
        consumer.assign([place])
        await consumer.commit({place: (await consumer.end_offsets([place]))[place]})
    finally:
        await stop_client(consumer.stop())


@asynccontextmanager
async def worker(bootstrap: str) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        *(topic.name for topic in CAPTURES.values()),
        bootstrap_servers=bootstrap,
        group_id=CAPTURE_GROUP,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        yield
    finally:
        await stop_client(consumer.stop())


@pytest.fixture
async def topics(kafka_bootstrap: str) -> str:
    """The broker, with the capture topics and nothing waiting in them."""
    await create_local_topics(kafka_bootstrap)
    for plan, topic in CAPTURES.items():
        for partition in range(topic.local_partitions):
            await commit_all(kafka_bootstrap, plan, partition)
    return kafka_bootstrap


async def test_what_waits_is_counted_by_plan(topics: str) -> None:
    """Records behind the group's committed offsets, over all partitions of a plan and those above."""
    await produce(topics, CAPTURES[Plan.PREMIUM].name, [b"x"] * 3, partition=0)
    await produce(topics, CAPTURES[Plan.FREE].name, [b"x"] * 4, partition=1)
    async with measured(topics) as (backlog, clock):
        await clock.until(lambda: backlog.health().known)
        assert backlog.health().queue_length == 7
        assert backlog.health().active_workers == 0
        assert backlog.estimated_wait_s(Plan.PREMIUM) < backlog.estimated_wait_s(Plan.FREE)
        await produce(topics, CAPTURES[Plan.FREE].name, [b"x"] * 2, partition=0)
        await clock.until(lambda: backlog.health().queue_length == 9)
        await commit_all(topics, Plan.FREE, 1)
        await clock.until(lambda: backlog.health().queue_length == 5)


async def test_workers_are_counted_while_they_are_members(topics: str) -> None:
    """A worker that left is no longer active."""
    async with measured(topics) as (backlog, clock):
        async with worker(topics):
            await clock.until(lambda: backlog.health().active_workers == 1)
        await clock.until(lambda: backlog.health().active_workers == 0)


async def test_without_a_broker_nothing_is_known_and_nothing_fails() -> None:
    """The ingress answers webhooks without an estimate rather than not at all."""
    ports = Ports()
    async with measured(f"127.0.0.1:{free_port(ports)}") as (backlog, clock):
        await clock.until(lambda: clock.rounds > 2)
        assert not backlog.health().known
        assert backlog.estimated_wait_s(Plan.FREE) == 1
    ports.close()
