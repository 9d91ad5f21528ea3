import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from runtime.kafka import partition_of
from runtime.publisher import KafkaPublisher, Message, sent_bytes
from schemas.topics import CAPTURE_EVENTS, MESSAGE_BYTES

Sent = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


class Producer:
    """Takes real batches of a topic with four partitions and hands out futures that the test completes."""

    def __init__(self, batch_bytes: int = 256 * 1024) -> None:
        self._batch_bytes = batch_bytes
        self.sent: list[tuple[int, list[Sent]]] = []
        self.acks: list[asyncio.Future[Any]] = []
        self.all_sent = asyncio.Event()
        self.expected = 0

    async def partitions_for(self, _topic: str) -> set[int]:
        return {3, 0, 2, 1}

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self._batch_bytes, 0)

    async def send_batch(self, batch: BatchBuilder, _topic: str, *, partition: int) -> "asyncio.Future[Any]":
        records = MemoryRecords(bytes(batch._build()))
        found = [(record.key, record.value, record.headers) for record in records.next_batch()]
        self.sent.append((partition, found))
        self.acks.append(asyncio.get_running_loop().create_future())
        if len(self.acks) == self.expected:
            self.all_sent.set()
        return self.acks[-1]


# each on a partition of its own
KEYS = (b"key-3", b"key-0", b"key-1")


def messages(count: int) -> list[Message]:
    return [Message("signals", KEYS[number], b"%d" % number, [("ce_id", b"x")]) for number in range(count)]


async def publishing(producer: Producer, count: int) -> "asyncio.Task[None]":
    producer.expected = count
    task = asyncio.create_task(KafkaPublisher(producer).publish(messages(count)))
    async with asyncio.timeout(5):
        await producer.all_sent.wait()
    return task


async def test_it_returns_when_everything_is_acked() -> None:
    """Each on the partition of its key, with its headers, and not before the last ack."""
    producer = Producer()
    task = await publishing(producer, 3)
    assert producer.sent == [
        (partition_of(key, range(4), range(4)), [(key, b"%d" % number, [("ce_id", b"x")])])
        for number, key in enumerate(KEYS)
    ]
    for ack in producer.acks[:2]:
        ack.set_result(None)
    await asyncio.sleep(0)
    assert not task.done()
    producer.acks[2].set_result(None)
    await task


@given(keys=st.lists(st.sampled_from((*KEYS, None))), batch_bytes=st.integers(100, 1000))
async def test_every_message_is_in_a_batch_and_keys_keep_their_order(
    keys: list[bytes | None], batch_bytes: int
) -> None:
    """Whatever fits into a batch, also when no two messages do."""
    producer = Producer(batch_bytes)
    offered = [Message("signals", key, b"%d" % number) for number, key in enumerate(keys)]
    task = asyncio.create_task(KafkaPublisher(producer).publish(offered))
    while not task.done():
        await asyncio.sleep(0)
        for ack in producer.acks:
            if not ack.done():
                ack.set_result(None)
    task.result()
    for key in set(keys):
        values = [value or b"" for _, batch in producer.sent for k, value, _ in batch if k == key]
        assert sorted(values) == sorted(message.value for message in offered if message.key == key)
        assert key is None or values == [message.value for message in offered if message.key == key]


async def test_one_failure_fails_the_whole_batch() -> None:
    """The first failure is raised after all fates are known, so nothing is left unobserved."""
    producer = Producer()
    task = await publishing(producer, 3)
    producer.acks[1].set_exception(KafkaConnectionError("first"))
    producer.acks[2].set_exception(TimeoutError())
    await asyncio.sleep(0)
    assert not task.done()
    producer.acks[0].set_result(None)
    with pytest.raises(KafkaConnectionError, match="first"):
        await task


async def test_an_ack_that_never_comes_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The idempotent producer itself would wait for ever."""
    monkeypatch.setattr("runtime.publisher.PUBLISH_DEADLINE_S", 0.01)
    with pytest.raises(TimeoutError):
        await KafkaPublisher(Producer()).publish(messages(2))


async def test_nothing_to_publish_is_done() -> None:
    """An empty batch needs no broker."""
    producer = Producer()
    await KafkaPublisher(producer).publish([])
    assert producer.sent == []


@pytest.mark.parametrize("excess_bytes", [0, 1])
async def test_what_its_topic_does_not_take_is_never_handed_over(excess_bytes: int) -> None:
    """Refused by the broker it would leave a gap in the sequence, after which the producer writes no more."""
    producer = Producer()
    headers, largest = [("ce_id", b"x")], b"x" * MESSAGE_BYTES
    while sent_bytes(b"key", largest, headers) > MESSAGE_BYTES:
        largest = largest[1:]
    message = Message(CAPTURE_EVENTS.name, b"key", largest + b"x" * excess_bytes, headers)
    producer.expected = 1
    publishing = asyncio.create_task(KafkaPublisher(producer).publish([message]))
    if excess_bytes:
        with pytest.raises(MessageSizeTooLargeError):
            await publishing
        assert producer.sent == []
        return
    async with asyncio.timeout(5):
        await producer.all_sent.wait()
    producer.acks[0].set_result(None)
    await publishing
