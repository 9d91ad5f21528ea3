"""What the topics hold, from where to where, and how far the groups have come."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runtime.backoff import backoff_s
from runtime.errors import Failure, FatalError, TransientError, classify
from runtime.kafka import create_consumer, open_admin, stop_client
from runtime.settings import KafkaSettings
from schemas.groups import GROUPS
from schemas.topics import DEADLETTERS, Topic
from sinks.reconcile import HOUR_MS

ANSWER_DEADLINE_S: Final = 30.0
BATCH_RECORDS: Final = 2_000
MARGIN_MS: Final = HOUR_MS
"""A record is appended after its alert was received, unless two clocks differ by as much as this."""

TOPICS_READ: Final[tuple[Topic, ...]] = (*GROUPS, DEADLETTERS)
_POLL_MS: Final = 500
_UNKNOWN_TOPIC: Final = 3


@dataclass(frozen=True, slots=True)
class Span:
    """A part of one partition, `end` excluded. Records from `committed` on have not been consumed.

    `committed` is 0 for a group that has never committed, and for a topic without a group of its own.
    """

    place: TopicPartition
    start: int
    end: int
    committed: int = 0

    def waits(self, offset: int) -> bool:
        return offset >= self.committed


def next_span(earlier: Span, later: Span) -> Span:
    """What has come since: usually what lies behind the earlier end.

    A group that was set back has records before it again that it had consumed: those too.
    """
    set_back = later.committed < earlier.committed
    start = max(later.start, later.committed) if set_back else earlier.end
    return Span(later.place, start, later.end, later.committed)


class TopicReader:
    """Errors are aiokafka's, `TransientError` when the broker falls silent, `FatalError` without topics."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer

    async def spans(self, from_ms: int | None) -> dict[TopicPartition, Span]:
        """Where records of alerts that were received since then may lie, in the order of `TOPICS_READ`.

        Committed offsets are asked for before the ends: what was consumed by then has its next record,
        letter or row already, and the ends include it.
        """
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            places = await self._places()
            committed = await self._committed(places)
            ends = await self._consumer.end_offsets(places)
            starts = await self._starts(places, from_ms)
        return {
            place: Span(place, starts.get(place, ends[place]), ends[place], committed.get(place, 0))
            for place in places
        }

    async def read(self, spans: Sequence[Span]) -> AsyncGenerator[tuple[Span, Sequence[Any]], None]:
        """Every record of the spans, of one topic. Holds no more than a few fetches of them."""
        left = {span.place: span for span in spans if span.start < span.end}
        if not left:
            return
        self._consumer.assign(list(left))
        for span in left.values():
            self._consumer.seek(span.place, span.start)
        while left:
            for place, records in (await self._next(left)).items():
                span = left[place]
                yield span, [record for record in records if record.offset < span.end]
            for place in await self._finished(left):
                del left[place]
                self._consumer.pause(place)

    async def _next(self, left: Mapping[TopicPartition, Span]) -> Mapping[TopicPartition, Sequence[Any]]:
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + ANSWER_DEADLINE_S
        while loop.time() < give_up_at_s:
            batches: Mapping[TopicPartition, Sequence[Any]] = await self._consumer.getmany(
                *left, timeout_ms=_POLL_MS, max_records=BATCH_RECORDS
            )
            # a batch may hold nothing but marks of the broker's own
            if batches or await self._finished(left):
                return batches
        raise TransientError(f"no answer from the broker within {ANSWER_DEADLINE_S:.0f} s")

    async def _finished(self, left: Mapping[TopicPartition, Span]) -> list[TopicPartition]:
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            return [place for place, span in left.items() if await self._consumer.position(place) >= span.end]

    async def _places(self) -> list[TopicPartition]:
        described = await self._admin.describe_topics([topic.name for topic in TOPICS_READ])
        unknown = [item["topic"] for item in described if item["error_code"] == _UNKNOWN_TOPIC]
        if unknown:
            raise FatalError(f"topics do not exist: {', '.join(unknown)}; run `alerts topics create`")
        counts = {item["topic"]: len(item["partitions"]) for item in described}
        return [
            TopicPartition(topic.name, number)
            for topic in TOPICS_READ
            for number in range(counts[topic.name])
        ]

    async def _committed(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        committed: dict[TopicPartition, int] = {}
        for topic, group in GROUPS.items():
            own = [place for place in places if place.topic == topic.name]
            committed |= await self._committed_by(group, own)
        return committed

    async def _committed_by(self, group: str, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Asks until the group's coordinator knows: one that is starting answers nothing at all."""
        for wait_s in backoff_s(0.1, 2.0):
            try:
                offsets = await self._admin.list_consumer_group_offsets(group, partitions=list(places))
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    raise
            else:
                if all(place in offsets for place in places):
                    return {place: max(0, int(offsets[place].offset)) for place in places}
            await asyncio.sleep(wait_s)
        raise AssertionError("backoff never ends")

    async def _starts(
        self, places: Sequence[TopicPartition], from_ms: int | None
    ) -> dict[TopicPartition, int]:
        """Without an entry for a partition that holds nothing so new."""
        if from_ms is None:
            starts: dict[TopicPartition, int] = await self._consumer.beginning_offsets(places)
            return starts
        since_ms = max(0, from_ms - MARGIN_MS)
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, since_ms))
        return {place: at.offset for place, at in found.items() if at is not None}


@asynccontextmanager
async def open_topics(settings: KafkaSettings) -> AsyncIterator[TopicReader]:
    """Raises when no broker answers."""
    async with open_admin(settings) as admin:
        consumer = create_consumer(settings, "alerts-reconcile")
        try:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                await consumer.start()
            yield TopicReader(admin, consumer)
        finally:
            await stop_client(consumer.stop())
