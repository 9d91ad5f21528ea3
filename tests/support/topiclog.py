"""What a topic holds, read again and again through one open consumer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer

from runtime.kafka import stop_client
from tests.support.broker import partitions_of


class TopicLog:
    """Everything one topic has held since it was opened from its beginning."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._records: list[Any] = []

    async def all(self) -> list[Any]:
        """Every record the topic holds now, in order per partition."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        for place, end in ends.items():
            while await self._consumer.position(place) < end:
                batches = await self._consumer.getmany(timeout_ms=200)
                self._records += [record for batch in batches.values() for record in batch]
        return list(self._records)

    async def of(self, key: bytes) -> list[Any]:
        """The records of one key, in order."""
        return [record for record in await self.all() if record.key == key]


@asynccontextmanager
async def open_topic_log(bootstrap: str, topic: str) -> AsyncIterator[TopicLog]:
    """Reads from the beginning. The topic must exist."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # a question waits behind a fetch, and a fetch waits for news
        fetch_max_wait_ms=20,
    )
    await consumer.start()
    try:
        consumer.assign(await partitions_of(bootstrap, topic))
        yield TopicLog(consumer)
    finally:
        await stop_client(consumer.stop())
