"""Publishes records and tells when they are durable."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from runtime.errors import FatalError, TransientError
from runtime.kafka import create_producer, is_broken, partition_of, stop_client, until_started
from runtime.settings import KafkaSettings
from schemas.headers import Headers
from schemas.topics import MESSAGE_BYTES, TOPICS

PUBLISH_DEADLINE_S: Final = 30.0
LIMITS_BYTES: Final = {topic.name: topic.max_message_bytes for topic in TOPICS}
_SURELY_FITS_BYTES: Final = MESSAGE_BYTES // 2
_BATCH_OVERHEAD_BYTES: Final = 61
_RECORD: Final = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 0)


class Message(msgspec.Struct, frozen=True):
    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = []


class Publisher(Protocol):
    """Where records go."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when every message is acked by all replicas, in order per key.

        Raises the first failure, or `TimeoutError`; then any of them may still have been written, or be
        written later: readers keep the id.
        """
        ...


class KafkaPublisher:
    """On an idempotent aiokafka producer.

    Makes the batches itself: record by record the producer's own way costs four times as much.
    """

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def publish(self, messages: Sequence[Message]) -> None:
        """As `Publisher`; `FatalError` when the producer has failed for good."""
        try:
            await self._publish(messages)
        except Exception as error:
            if is_broken(self._producer):
                raise FatalError("a task of the producer has ended") from error
            raise

    async def _publish(self, messages: Sequence[Message]) -> None:
        async with asyncio.timeout(PUBLISH_DEADLINE_S):
            acks = [
                await self._producer.send_batch(batch, topic, partition=partition)
                for topic, partition, batch in await self._batches(messages)
            ]
            results = await asyncio.gather(*acks, return_exceptions=True)
        for result in results:
            if isinstance(result, asyncio.CancelledError):
                # the producer was stopped with the batch in it; as it is, it would look like our own end
                raise TransientError("the producer was stopped")
            if isinstance(result, BaseException):
                raise result

    async def _batches(self, messages: Sequence[Message]) -> list[tuple[str, int, BatchBuilder]]:
        """In an order that keeps that of each key. Raises when one message is too large for its topic."""
        partitions = {
            topic: sorted(await self._producer.partitions_for(topic))
            for topic in dict.fromkeys(message.topic for message in messages)
        }
        made: list[tuple[str, int, BatchBuilder]] = []
        filling: dict[tuple[str, int], BatchBuilder] = {}
        for message in messages:
            check_size(message)
            known = partitions[message.topic]
            place = message.topic, partition_of(message.key, known, known)
            batch = filling.get(place)
            if batch is None or not append_message(batch, message):
                batch = filling[place] = self._producer.create_batch()
                made.append((*place, batch))
                append_message(batch, message)
        return made


def append_message(batch: BatchBuilder, message: Message) -> bool:
    """False: the batch is full. An empty one takes a message of any size."""
    added = batch.append(key=message.key, value=message.value, timestamp=None, headers=message.headers)
    return added is not None


def sent_bytes(key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> int:
    """What a broker compares with the topic's limit when a record is sent alone, uncompressed."""
    record_bytes: int = _RECORD.size_in_bytes(0, 0, key, value, list(headers))
    return _BATCH_OVERHEAD_BYTES + record_bytes


def check_size(message: Message) -> None:
    """Raises `MessageSizeTooLargeError` before it is sent.

    Refused by the broker it would have used up a sequence number, and the producer could write no more.
    """
    if len(message.value) <= _SURELY_FITS_BYTES:
        return
    limit_bytes = LIMITS_BYTES.get(message.topic)
    if limit_bytes is not None and sent_bytes(message.key, message.value, message.headers) > limit_bytes:
        raise MessageSizeTooLargeError(f"more than {limit_bytes} bytes for {message.topic}")


@asynccontextmanager
async def open_publisher(settings: KafkaSettings, client_id: str) -> AsyncIterator[KafkaPublisher]:
    """A publisher for topics of any size. Waits for a broker to answer."""
    producer = await until_started(lambda: create_producer(settings, client_id, large=True))
    try:
        yield KafkaPublisher(producer)
    finally:
        await stop_client(producer.stop())
