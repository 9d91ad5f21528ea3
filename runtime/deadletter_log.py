"""Reads the `deadletters` topic: every letter in order of its place, none that came after the start."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.clock import utc_from_ms
from runtime.deadletter_postmark import Postmark, UnreadableLetter, read_deadletter
from runtime.errors import FatalError, TransientError
from runtime.kafka import create_consumer, open_admin, stop_client
from runtime.settings import KafkaSettings
from schemas.topics import DEADLETTERS

ANSWER_DEADLINE_S: Final = 30.0
BATCH_LETTERS: Final = 500
CLOCK_STEP: Final = timedelta(hours=1)
_POLL_MS: Final = 500
_UNKNOWN_TOPIC: Final = 3


class Place(NamedTuple):
    """Where a letter lies. Letters are read in the order of their places."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def next(self) -> "Place":
        return Place(self.partition, self.offset + 1)


class Span(NamedTuple):
    """A part of one partition, `end` excluded."""

    partition: int
    start: int
    end: int


class StoredLetter(msgspec.Struct, frozen=True):
    """One record of the topic, with what it says of itself."""

    place: Place
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]
    postmark: Postmark | UnreadableLetter

    @property
    def failed_at(self) -> datetime | None:
        """When it died the last time; of a foreign record when it was written, if that is a time."""
        if isinstance(self.postmark, Postmark):
            return self.postmark.failed_at
        try:
            return utc_from_ms(self.timestamp_ms)
        except OverflowError:
            return None

    @property
    def user_id(self) -> UUID | None:
        """Of the tenant; refused calls have none."""
        try:
            return UUID((self.key or b"").decode("ascii"))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant. An empty set means any; `since` is included, `until` is not."""

    reasons: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    user_id: UUID | None = None

    def matches(self, letter: StoredLetter) -> bool:
        """An unreadable letter has neither reason nor stage nor topic."""
        return (
            self._matches_time(letter.failed_at)
            and (self.user_id is None or letter.user_id == self.user_id)
            and self._matches_postmark(letter.postmark)
        )

    def _matches_time(self, moment: datetime | None) -> bool:
        if moment is None:
            return self.since is None and self.until is None
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)

    def _matches_postmark(self, postmark: Postmark | UnreadableLetter) -> bool:
        if isinstance(postmark, UnreadableLetter):
            return not (self.reasons or self.stages or self.topics)
        wanted = (
            (self.reasons, postmark.reason),
            (self.stages, postmark.stage),
            (self.topics, postmark.topic),
        )
        return all(not allowed or value in allowed for allowed, value in wanted)


class DeadLetterLog:
    """Errors are aiokafka's, and `TransientError` when the broker falls silent."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: int) -> None:
        self._consumer = consumer
        self._partitions = partitions

    async def spans(self, first: Place | None = None, since: datetime | None = None) -> list[Span]:
        """All there is now, from a place on; what is much older than `since` may be left out."""
        places = [TopicPartition(DEADLETTERS.name, number) for number in range(self._partitions)]
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            ends = await self._consumer.end_offsets(places)
            starts = await self._starts(places, since)
        spans = [Span(place.partition, starts.get(place, end), end) for place, end in ends.items()]
        return [_cut(span, first or Place(0, 0)) for span in spans]

    async def _starts(
        self, places: Sequence[TopicPartition], since: datetime | None
    ) -> dict[TopicPartition, int]:
        """Without an entry for a partition that holds nothing so new."""
        if since is None:
            starts: dict[TopicPartition, int] = await self._consumer.beginning_offsets(places)
            return starts
        # a letter is written after the death it tells of, unless a clock was set back between the two
        from_ms = max(0, int((since - CLOCK_STEP).timestamp() * 1000))
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, from_ms))
        return {place: at.offset for place, at in found.items() if at is not None}

    async def read(self, spans: Sequence[Span]) -> AsyncGenerator[StoredLetter, None]:
        """Every letter of the spans, one span after the other. Holds no more than a fetch of them."""
        for span in spans:
            if span.start < span.end:
                async for letter in self._read_span(span):
                    yield letter

    async def letter_at(self, place: Place) -> StoredLetter | None:
        """None when nothing lies there: not yet, or no longer."""
        for span in await self.spans():
            if span.partition == place.partition and span.start <= place.offset < span.end:
                only = Span(place.partition, place.offset, place.offset + 1)
                return next(iter([letter async for letter in self._read_span(only)]), None)
        return None

    async def _read_span(self, span: Span) -> AsyncGenerator[StoredLetter, None]:
        partition = TopicPartition(DEADLETTERS.name, span.partition)
        self._consumer.assign([partition])
        self._consumer.seek(partition, span.start)
        while await self._consumer.position(partition) < span.end:
            for record in await self._next(partition):
                if record.offset >= span.end:
                    return
                yield _letter(record)

    async def _next(self, partition: TopicPartition) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + ANSWER_DEADLINE_S
        position = await self._consumer.position(partition)
        while loop.time() < give_up_at_s:
            batches = await self._consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=BATCH_LETTERS)
            records: Sequence[Any] = batches.get(partition, ())
            # a batch may hold nothing but marks of the broker's own
            if records or await self._consumer.position(partition) > position:
                return records
        raise TransientError(f"no answer from the broker within {ANSWER_DEADLINE_S:.0f} s")


@asynccontextmanager
async def open_deadletter_log(settings: KafkaSettings) -> AsyncIterator[DeadLetterLog]:
    """Raises when no broker answers, or when the topic does not exist."""
    async with asyncio.timeout(ANSWER_DEADLINE_S):
        partitions = await _partitions(settings)
    consumer = create_consumer(settings, "alerts-deadletters")
    try:
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            await consumer.start()
        yield DeadLetterLog(consumer, partitions)
    finally:
        await stop_client(consumer.stop())


async def _partitions(settings: KafkaSettings) -> int:
    async with open_admin(settings) as admin:
        [described] = await admin.describe_topics([DEADLETTERS.name])
    if described["error_code"] == _UNKNOWN_TOPIC:
        raise FatalError(f"the topic {DEADLETTERS.name} does not exist: run `alerts topics create`")
    return len(described["partitions"])


def _cut(span: Span, first: Place) -> Span:
    if span.partition < first.partition:
        return Span(span.partition, span.end, span.end)
    if span.partition > first.partition:
        return span
    return Span(span.partition, max(span.start, first.offset), span.end)


def _letter(record: Any) -> StoredLetter:
    headers = tuple(record.headers)
    return StoredLetter(
        place=Place(record.partition, record.offset),
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value or b"",
        headers=headers,
        postmark=read_deadletter(headers),
    )
