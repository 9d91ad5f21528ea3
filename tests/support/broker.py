"""Short words for what tests do with a real broker."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from runtime.kafka import stop_client


async def make_topics(bootstrap: str, **partitions: int) -> None:
    async with admin_of(bootstrap) as admin:
        await admin.create_topics([NewTopic(name, count, 1) for name, count in partitions.items()])


async def topic_names(bootstrap: str) -> set[str]:
    async with admin_of(bootstrap) as admin:
        return set(await admin.list_topics())


async def produce(
    bootstrap: str, topic: str, values: Sequence[bytes], partition: int = 0, key: bytes | None = b"key"
) -> None:
    """Under one key, or each under its own if there is none."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        acks = [await producer.send(topic, value, key=key or value, partition=partition) for value in values]
        for ack in acks:
            await ack
    finally:
        await producer.stop()


async def committed(bootstrap: str, group: str, topic: str, partition: int = 0) -> int:
    """The committed offset, 0 when there is none."""
    place = TopicPartition(topic, partition)
    return (await committed_offsets(bootstrap, group, [place]))[place]


async def committed_offsets(
    bootstrap: str, group: str, places: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """0 where there is none, also while the coordinator is still starting."""
    async with admin_of(bootstrap) as admin:
        offsets = await admin.list_consumer_group_offsets(group, partitions=places)
    return {place: max(0, int(offsets[place].offset)) if place in offsets else 0 for place in places}


async def lag(bootstrap: str, group: str, topic: str) -> int:
    """Records of the topic that the group has not committed."""
    places = await partitions_of(bootstrap, topic)
    offsets = await committed_offsets(bootstrap, group, places)
    async with consumer_of(bootstrap) as consumer:
        ends = await consumer.end_offsets(places)
    return sum(int(ends[place]) - offsets[place] for place in places)


async def group_state(bootstrap: str, group: str) -> tuple[str, int]:
    """As the coordinator calls it, and how many members it has."""
    async with admin_of(bootstrap) as admin:
        [response] = await admin.describe_consumer_groups([group])
    [described] = response.groups
    return str(described[2]), len(described[5])


async def partitions_of(bootstrap: str, topic: str) -> list[TopicPartition]:
    async with admin_of(bootstrap) as admin:
        described = await admin.describe_topics([topic])
    return [TopicPartition(topic, number) for number in range(len(described[0]["partitions"]))]


async def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Every record the topic holds now, each partition in its order."""
    places = await partitions_of(bootstrap, topic)
    records: list[Any] = []
    async with consumer_of(bootstrap) as consumer:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < ends[place] for place in places]):
            batches = await consumer.getmany(*places, timeout_ms=500)
            records += [record for batch in batches.values() for record in batch]
    return records


@asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def consumer_of(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await stop_client(consumer.stop())
