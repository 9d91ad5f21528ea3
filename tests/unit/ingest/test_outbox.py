"""Batches on their way to a producer whose rooms and acks the test holds."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata, TopicPartition

from ingest.fate import Fate
from ingest.outbox import Listener, Outbox, Waiting
from runtime.kafka import partition_of
from runtime.publisher import Message
from tests.support.waiting import eventually

ACK = RecordMetadata("topic", 0, TopicPartition("topic", 0), 7, -1, 0, 0)
DEADLINE_S = 30.0
SMALL_BATCH_BYTES = 250
PARTITIONS = [0, 1]


class NotedBatch(BatchBuilder):  # type: ignore[misc] # aiokafka has no types
    """Remembers what was put into it."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes, 0)
        self.values: list[bytes] = []

    def append(self, **record: Any) -> object:
        added = super().append(**record)
        if added is not None:
            self.values.append(record["value"])
        return added


class HeldProducer:
    """The part of an aiokafka producer that an outbox uses. A partition that is closed has no room."""

    def __init__(self, batch_bytes: int) -> None:
        self.partitions = set(PARTITIONS)
        self.error: Exception | None = None
        self.closed: set[int] = set()
        self.opened = asyncio.Event()
        self.sent: dict[int, list[list[bytes]]] = defaultdict(list)
        self.acks: list[asyncio.Future[Any]] = []
        self._batch_bytes = batch_bytes

    async def partitions_for(self, _topic: str) -> set[int]:
        if self.error is not None:
            raise self.error
        return self.partitions

    def create_batch(self) -> NotedBatch:
        return NotedBatch(self._batch_bytes)

    async def send_batch(self, batch: NotedBatch, _topic: str, *, partition: int) -> "asyncio.Future[Any]":
        while partition in self.closed:
            await self.opened.wait()
        self.sent[partition].append(batch.values)
        self.acks.append(asyncio.get_running_loop().create_future())
        return self.acks[-1]


class Bench:
    """An outbox before a held producer."""

    def __init__(self, batch_bytes: int = 100_000) -> None:
        self.producer = HeldProducer(batch_bytes)
        self.acked: list[RecordMetadata] = []
        self.failed: list[BaseException] = []
        self.outbox = Outbox(self.producer, Listener(self.acked.append, self.failed.append))

    def put(self, value: bytes, key: bytes = b"0") -> Waiting:
        waiting = Waiting(Message("topic", key, value), asyncio.get_running_loop().create_future())
        self.outbox.put(waiting)
        return waiting

    async def sent(self, batches: int) -> None:
        """Returns once that many were handed over."""

        async def enough() -> bool:
            return len(self.producer.acks) >= batches

        await eventually(enough)


def key_of(partition: int) -> bytes:
    keys = (str(number).encode() for number in range(100))
    return next(key for key in keys if partition_of(key, PARTITIONS, PARTITIONS) == partition)


def flat(batches: list[list[bytes]]) -> list[bytes]:
    return [value for batch in batches for value in batch]


async def fate_of(waiting: Waiting) -> Fate:
    return await asyncio.wait_for(waiting.fate, DEADLINE_S)


async def test_what_comes_in_at_once_leaves_as_one_batch_a_partition() -> None:
    """In its order, and each record hears of its ack; the listener once a batch."""
    bench = Bench()
    records = [bench.put(b"%d" % number, key_of(number % 2)) for number in range(6)]
    await bench.sent(2)
    assert bench.producer.sent == {0: [[b"0", b"2", b"4"]], 1: [[b"1", b"3", b"5"]]}
    assert (bench.outbox.pending, bench.outbox.pending_bytes) == (6, 6)
    for ack in bench.producer.acks:
        ack.set_result(ACK)
    assert {await fate_of(record) for record in records} == {Fate.ACKED}
    assert bench.acked == [ACK, ACK]
    assert (bench.outbox.pending, bench.outbox.pending_bytes) == (0, 0)


async def test_a_partition_without_room_holds_up_no_other() -> None:
    """As while its leader moves; what waits for it keeps its order."""
    bench = Bench()
    bench.producer.closed.add(0)
    bench.put(b"first", key_of(0))
    bench.put(b"other", key_of(1))
    await bench.sent(1)
    bench.put(b"second", key_of(0))
    bench.put(b"third", key_of(0))
    assert bench.producer.sent == {1: [[b"other"]]}
    bench.producer.closed.clear()
    bench.producer.opened.set()
    await bench.sent(3)
    assert bench.producer.sent[0] == [[b"first"], [b"second", b"third"]]


async def test_a_full_batch_is_followed_by_another() -> None:
    """Nothing is left behind, whatever the size of the batches."""
    bench = Bench(SMALL_BATCH_BYTES)
    values = [bytes([number]) * 60 for number in range(10)]
    for value in values:
        bench.put(value)
    partition = partition_of(b"0", PARTITIONS, PARTITIONS)
    await bench.sent(4)

    async def all_sent() -> bool:
        return flat(bench.producer.sent[partition]) == values

    await eventually(all_sent)
    assert len(bench.producer.sent[partition]) > 1


async def test_what_was_given_up_in_time_is_never_handed_over() -> None:
    """Its sender has been told so; the records around it leave."""
    bench = Bench()
    first, given_up, last = (bench.put(value) for value in (b"first", b"given up", b"last"))
    given_up.give_up()
    await bench.sent(1)
    assert list(bench.producer.sent.values()) == [[[b"first", b"last"]]]
    assert await fate_of(given_up) is Fate.REFUSED
    assert bench.outbox.pending == 2
    for record in (first, last):
        record.give_up()
        assert await fate_of(record) is Fate.UNKNOWN


@pytest.mark.parametrize(
    ("error", "fate"),
    [(KafkaTimeoutError(), Fate.REFUSED), (MessageSizeTooLargeError(), Fate.IMPOSSIBLE)],
)
async def test_a_topic_that_is_not_known_refuses(error: Exception, fate: Fate) -> None:
    """None of its records was handed over, and the next one asks again."""
    bench = Bench()
    bench.producer.error = error
    records = [bench.put(b"1"), bench.put(b"2")]
    assert {await fate_of(record) for record in records} == {fate}
    assert bench.failed == [error]
    bench.producer.error = None
    bench.put(b"3")
    await bench.sent(1)
    assert bench.outbox.pending == 1


async def test_a_failed_ack_is_told_to_the_whole_batch_and_once_to_the_listener() -> None:
    """The broker may have written it before it failed."""
    bench, error = Bench(), KafkaConnectionError()
    records = [bench.put(b"1"), bench.put(b"2")]
    await bench.sent(1)
    bench.producer.acks[0].set_exception(error)
    assert {await fate_of(record) for record in records} == {Fate.UNKNOWN}
    assert bench.failed == [error]


async def test_a_topic_that_gets_more_partitions_is_followed() -> None:
    """The records of a key then go where every other producer sends them."""
    bench = Bench()
    bench.put(b"before")
    await bench.sent(1)
    bench.producer.partitions = {0, 1, 2, 3, 4}
    bench.put(b"notices")
    await bench.sent(2)
    keys = [b"%d" % number for number in range(20)]
    for key in keys:
        bench.put(key, key)

    async def all_sent() -> bool:
        return sum(len(flat(batches)) for batches in bench.producer.sent.values()) == len(keys) + 2

    await eventually(all_sent)
    for partition, batches in bench.producer.sent.items():
        for value in flat(batches):
            if value.isdigit():
                assert partition_of(value, list(range(5)), list(range(5))) == partition


async def test_closing_gives_up_on_what_waits() -> None:
    """Nobody will hand it over any more."""
    bench = Bench()
    bench.producer.closed = set(PARTITIONS)
    handed_over = bench.put(b"first")
    await eventually(lambda: _is(handed_over))
    waiting = bench.put(b"second")
    await bench.outbox.close()
    assert await fate_of(waiting) is Fate.REFUSED
    assert not handed_over.fate.done()


async def test_closing_gives_up_on_what_waits_for_its_topics_partitions() -> None:
    """As while no broker answers: its sender need not wait for the deadline."""
    bench, asked = Bench(), asyncio.Event()

    async def never(_topic: str) -> set[int]:
        asked.set()
        return set(await asyncio.get_running_loop().create_future())

    bench.producer.partitions_for = never  # type: ignore[method-assign]
    waiting = bench.put(b"value")
    await asyncio.wait_for(asked.wait(), DEADLINE_S)
    await bench.outbox.close()
    assert waiting.fate.done()
    assert await fate_of(waiting) is Fate.REFUSED


async def _is(record: Waiting) -> bool:
    return record.handed_over
