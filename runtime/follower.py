"""Tells whether the `tenants` topic is the log that a snapshot was taken from."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.backoff import backoff_s
from runtime.errors import Failure, TransientError, classify
from runtime.kafka import open_admin
from runtime.logging import get_logger
from runtime.settings import KafkaSettings
from runtime.snapshot import Place
from schemas.topics import TENANTS

PARTITION: Final = TopicPartition(TENANTS.name, 0)
_ASK_DEADLINE_S: Final = 30.0
_POLL_MS: Final = 500

T = TypeVar("T")

log = get_logger(__name__)


class Origin(StrEnum):
    """What the broker's log is to a snapshot. Unknown: the record that would tell has been compacted away."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


async def cluster_id_of(settings: KafkaSettings) -> str:
    """The id of the cluster that answers. Waits for one without limit."""

    async def ask() -> str:
        async with open_admin(settings) as admin:
            described = await admin.describe_cluster()
        return str(described["cluster_id"])

    return await _until_answered(ask)


async def end_offset_of(consumer: AIOKafkaConsumer) -> int:
    """The offset after the last record. Waits without limit for a broker and for the topic."""

    async def ask() -> int:
        end_offset: int = (await consumer.end_offsets([PARTITION]))[PARTITION]
        return end_offset

    return await _until_answered(ask)


async def origin_of(consumer: AIOKafkaConsumer, cluster_id: str, place: Place) -> Origin:
    """Compare a snapshot's place with the assigned log; leaves the consumer at an arbitrary position.

    aiokafka does not speak of topic ids; so the log is known by the last record that the snapshot had read.
    """
    if (place.cluster_id, place.topic, place.partition) != (cluster_id, *PARTITION):
        return Origin.OTHER
    end_offset = await end_offset_of(consumer)
    if end_offset < place.offset:
        return Origin.OTHER
    return await _compare_last(consumer, place, end_offset)


async def _compare_last(consumer: AIOKafkaConsumer, place: Place, end_offset: int) -> Origin:
    consumer.seek(PARTITION, place.last_offset)
    while await consumer.position(PARTITION) < end_offset:
        batches = await consumer.getmany(PARTITION, timeout_ms=_POLL_MS, max_records=1)
        for record in batches.get(PARTITION, ()):
            if record.offset != place.last_offset:
                return Origin.UNKNOWN
            return Origin.SAME if record.timestamp == place.last_timestamp_ms else Origin.OTHER
    return Origin.UNKNOWN


async def _until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    for wait_s in backoff_s(0.2, 2.0):
        try:
            async with asyncio.timeout(_ASK_DEADLINE_S):
                return await ask()
        except Exception as error:
            if classify(error) is not Failure.TRANSIENT:
                raise
            log.info("waiting_for_kafka", error=type(error).__name__)
        await asyncio.sleep(wait_s)
    raise TransientError("backoff never ends")
