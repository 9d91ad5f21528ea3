"""A relay under the test's control between a real database and a real topic."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

from aiokafka import AIOKafkaProducer

from runtime.clock import SystemClock
from runtime.directory import DirectoryReader, open_directory
from runtime.errors import TransientError
from runtime.metrics import create_metrics
from runtime.postgres import Pool
from runtime.process import ProcessContext
from runtime.publisher import Message, Publisher
from schemas.codec import RecordDecodeError, decode
from schemas.records import Tenant
from schemas.topics import TENANTS
from sinks.relay import TenantRelay
from tests.support.tenants import Customer, insert_tenant, kafka_settings
from tests.support.topiclog import TopicLog
from tests.support.waiting import eventually


@dataclass
class Interposed:
    """A publisher with a hook before and after what it passes on."""

    publisher: Publisher
    before: list[Exception] = field(default_factory=list)
    after: list[Exception] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go.set()

    async def publish(self, messages: Sequence[Message]) -> None:
        self.held.set()
        await self.go.wait()
        if self.before:
            raise self.before.pop()
        await self.publisher.publish(messages)
        if self.after:
            raise self.after.pop()


@dataclass
class Late:
    """A publisher that gives up, as ours does after its deadline, while its records are on their way."""

    publisher: Publisher
    on_the_way: list[Message] = field(default_factory=list)

    async def publish(self, messages: Sequence[Message]) -> None:
        self.on_the_way += messages
        raise TimeoutError

    async def land(self) -> None:
        await self.publisher.publish(self.on_the_way)


@dataclass(frozen=True)
class Bench:
    """A database without tenants, the shared topic, and a relay whose publisher the test holds."""

    pool: Pool
    relay: TenantRelay
    publisher: Interposed
    topic: TopicLog
    bootstrap: str

    async def insert(self, customer: Customer) -> Customer:
        await insert_tenant(self.pool, customer)
        return customer

    async def change(self, customer: Customer, assignments: str) -> None:
        await self.pool.execute(
            f"UPDATE users SET {assignments}, revision = revision + 1 WHERE id = $1",  # noqa: S608 - literals
            customer.tenant.user_id,
        )

    async def published(self, customer: Customer) -> list[Tenant]:
        return [decode(record.value, Tenant) for record in await self.topic.of(customer.key)]

    async def marked(self, customer: Customer) -> int:
        query = "SELECT published_revision FROM users WHERE id = $1"
        revision: int = await self.pool.fetchval(query, customer.tenant.user_id)
        return revision

    async def until_last(self, customer: Customer, revision: int) -> None:
        """Until what compaction would keep of the customer is this revision."""

        async def look() -> bool:
            records = await self.topic.of(customer.key)
            with suppress(RecordDecodeError):
                return bool(records) and decode(records[-1].value or b"", Tenant).revision == revision
            return False

        await eventually(look)

    @asynccontextmanager
    async def directory(self) -> AsyncIterator[DirectoryReader]:
        async with open_directory(kafka_settings(self.bootstrap), ProcessContext(), "test") as reader:
            await until_current(reader)
            yield reader


@asynccontextmanager
async def running(relay: TenantRelay, reader: DirectoryReader) -> AsyncIterator[None]:
    """A relay that goes on for ever, until the block is left."""
    task = asyncio.create_task(relay.run(reader))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def new_relay(pool: Pool, publisher: Publisher) -> TenantRelay:
    return TenantRelay(pool, publisher, SystemClock(), create_metrics())


async def until_current(reader: DirectoryReader) -> None:
    async def current() -> bool:
        with suppress(TransientError):
            await reader.confirm_current(5)
            return True
        return False

    await eventually(current)


async def until_known(reader: DirectoryReader, user_id: UUID) -> Tenant:
    async def look() -> Tenant | None:
        return reader.directory.by_id(user_id)

    return await eventually(look)


async def write(bootstrap: str, key: bytes, value: bytes | None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(TENANTS.name, value, key=key)
    finally:
        await producer.stop()
