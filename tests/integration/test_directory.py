"""The tenants' directory on a real broker, which is frozen and killed on the way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from runtime.directory import DirectoryReader, open_directory
from runtime.errors import TransientError
from runtime.process import ProcessContext
from runtime.publisher import KafkaPublisher, Message, open_publisher
from runtime.settings import KafkaSettings, load_section
from runtime.topics import create_topics
from schemas.codec import encode
from schemas.records import Tenant
from schemas.topics import TENANTS
from tests.support.outage import FrailBroker, frail_broker
from tests.support.tenants import Customer, new_customer

PATIENCE_S = 30


@pytest.fixture(scope="module")
def broker() -> Iterator[FrailBroker]:
    with frail_broker() as broker:
        yield broker


def settings(broker: FrailBroker) -> KafkaSettings:
    return load_section(
        KafkaSettings,
        {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "KAFKA_TOPIC_PROFILE": "local",
            "KAFKA_REPLICATION": "1",
        },
    )


@asynccontextmanager
async def reading(broker: FrailBroker) -> AsyncIterator[DirectoryReader]:
    context = ProcessContext()
    async with open_directory(settings(broker), context, "test") as reader:
        yield reader
        assert not context.failed.done()


async def publish(publisher: KafkaPublisher, *tenants: Tenant) -> None:
    messages = [Message(TENANTS.name, str(item.user_id).encode(), encode(item)) for item in tenants]
    await publisher.publish(messages)


async def until_current(reader: DirectoryReader) -> None:
    """For states that take the clients a moment to leave."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await reader.confirm_current(2)
            except TransientError:
                continue
            return


def known(reader: DirectoryReader, customer: Customer) -> bool:
    return reader.directory.by_token_hash(customer.tenant.token_hashes[0]) == customer.tenant


async def test_the_topic_may_come_after_the_reader(broker: FrailBroker) -> None:
    """A role that starts before `alerts topics create` is not current, and becomes it by itself."""
    async with reading(broker) as reader:
        with pytest.raises(TransientError):
            await reader.confirm_current(1)
        await create_topics(settings(broker))
        await until_current(reader)
        assert len(reader.directory) == 0


async def test_what_was_published_before_the_question_is_known_after_it(broker: FrailBroker) -> None:
    """Also when many ask at once: a 404 is only given when the tenant really is not there."""
    await create_topics(settings(broker))
    async with open_publisher(settings(broker), "test") as publisher, reading(broker) as reader:
        await until_current(reader)
        for _ in range(10):
            customer = new_customer()
            await publish(publisher, customer.tenant)
            await asyncio.gather(*(reader.confirm_current(PATIENCE_S) for _ in range(50)))
            assert known(reader, customer)


async def test_a_reader_starts_with_all_that_is_there(broker: FrailBroker) -> None:
    """The newest revision of each tenant, and deletions, without Postgres."""
    await create_topics(settings(broker))
    first, second = new_customer(), new_customer()
    changed, deleted = first.with_changes(webhook_enabled=False), second.with_changes(deleted=True)
    async with open_publisher(settings(broker), "test") as publisher:
        await publish(publisher, first.tenant, second.tenant, changed.tenant, deleted.tenant, first.tenant)
    async with reading(broker) as reader:
        await until_current(reader)
        assert known(reader, changed)
        assert reader.directory.by_token_hash(second.tenant.token_hashes[0]) is None
        assert reader.directory.by_id(second.tenant.user_id) == deleted.tenant


async def test_a_frozen_broker_makes_it_uncertain_and_it_recovers(broker: FrailBroker) -> None:
    """Nothing is answered then: the caller learns within its deadline that it may not say 404."""
    await create_topics(settings(broker))
    customer = new_customer()
    async with open_publisher(settings(broker), "test") as publisher, reading(broker) as reader:
        await until_current(reader)
        with broker.frozen():
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(TransientError):
                    await reader.confirm_current(0.3)
        await publish(publisher, customer.tenant)
        await until_current(reader)
        assert known(reader, customer)


async def test_a_restarted_broker_is_followed_again(broker: FrailBroker) -> None:
    """A kill and a new start need no restart of the reader."""
    await create_topics(settings(broker))
    async with reading(broker) as reader:
        await until_current(reader)
        broker.kill()
        with pytest.raises(TransientError):
            await reader.confirm_current(0.3)
        broker.start()
        customer = new_customer()
        async with open_publisher(settings(broker), "test") as publisher:
            await publish(publisher, customer.tenant)
        await until_current(reader)
        assert known(reader, customer)
