"""What the broker holds for a group's partitions that the group has not committed."""

from collections.abc import Collection
from typing import Any

from aiokafka import TopicPartition

from runtime.kafka import create_consumer, open_admin, stop_client
from runtime.settings import KafkaSettings


async def group_lag(settings: KafkaSettings, group: str, assignment: Collection[Any]) -> int:
    """Records from the committed offset to the end, over these (topic, partition) pairs.

    Asks with clients of its own, made anew: a consumer's idea of the end is as old as its last fetch, and
    fresh connections are the test. Raises when the broker does not answer; the deadline is the caller's.
    """
    places = [TopicPartition(topic, partition) for topic, partition in assignment]
    if not places:
        return 0
    async with open_admin(settings) as admin:
        offsets = await admin.list_consumer_group_offsets(group, partitions=places)
    consumer = create_consumer(settings, "alerts-lag")
    try:
        await consumer.start()
        ends = await consumer.end_offsets(places)
        starts = await consumer.beginning_offsets(places)
    finally:
        await stop_client(consumer.stop())
    return sum(int(ends[place]) - max(int(offsets[place].offset), int(starts[place])) for place in places)
