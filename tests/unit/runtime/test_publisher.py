import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from runtime.publisher import KafkaPublisher, Message, sent_bytes
from schemas.topics import CAPTURE_EVENTS, MESSAGE_BYTES


class Producer:
    """Hands out futures that the test completes."""

    def __init__(self, refuse: Callable[[bytes], None] = lambda _value: None) -> None:
        self._refuse = refuse
        self.sent: list[tuple[str, bytes, bytes | None, list[tuple[str, bytes]]]] = []
        self.acks: list[asyncio.Future[Any]] = []
        self.all_sent = asyncio.Event()
        self.expected = 0

    async def send(
        self, topic: str, value: bytes, *, key: bytes | None, headers: list[tuple[str, bytes]]
    ) -> "asyncio.Future[Any]":
        self._refuse(value)
        self.sent.append((topic, value, key, headers))
        self.acks.append(asyncio.get_running_loop().create_future())
        if len(self.acks) == self.expected:
            self.all_sent.set()
        return self.acks[-1]


def messages(count: int) -> list[Message]:
    return [Message("signals", b"key", b"%d" % number, [("ce_id", b"x")]) for number in range(count)]


async def publishing(producer: Producer, count: int) -> "asyncio.Task[None]":
    producer.expected = count
    task = asyncio.create_task(KafkaPublisher(producer).publish(messages(count)))
    await producer.all_sent.wait()
    return task


async def test_it_returns_when_everything_is_acked() -> None:
    """In the order given, with key and headers, and not before the last ack."""
    producer = Producer()
    task = await publishing(producer, 3)
    assert [value for _topic, value, _key, _headers in producer.sent] == [b"0", b"1", b"2"]
    assert producer.sent[0] == ("signals", b"0", b"key", [("ce_id", b"x")])
    for ack in producer.acks[:2]:
        ack.set_result(None)
    await asyncio.sleep(0)
    assert not task.done()
    producer.acks[2].set_result(None)
    await task


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


async def test_a_message_the_producer_refuses_is_raised() -> None:
    """Too large is known before anything is sent to a broker."""

    def refuse(_value: bytes) -> None:
        raise MessageSizeTooLargeError

    with pytest.raises(MessageSizeTooLargeError):
        await KafkaPublisher(Producer(refuse)).publish(messages(1))


async def test_an_ack_that_never_comes_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The idempotent producer itself would wait for ever."""
    monkeypatch.setattr("runtime.publisher.PUBLISH_DEADLINE_S", 0.01)
    with pytest.raises(TimeoutError):
        await KafkaPublisher(Producer()).publish(messages(2))


async def test_nothing_to_publish_is_done() -> None:
    """An empty batch needs no broker."""
    await KafkaPublisher(Producer()).publish([])


@pytest.mark.parametrize("excess_bytes", [0, 1])
async def test_what_its_topic_does_not_take_is_never_handed_over(excess_bytes: int) -> None:
    """Refused by the broker it would leave a gap in the sequence, after which the producer writes no more."""
    producer = Producer()
    producer.expected = 1
    headers, largest = [("ce_id", b"x")], b"x" * MESSAGE_BYTES
    while sent_bytes(b"key", largest, headers) > MESSAGE_BYTES:
        largest = largest[1:]
    message = Message(CAPTURE_EVENTS.name, b"key", largest + b"x" * excess_bytes, headers)
    publishing = asyncio.create_task(KafkaPublisher(producer).publish([message]))
    if excess_bytes:
        with pytest.raises(MessageSizeTooLargeError):
            await publishing
        assert producer.sent == []
        return
    await producer.all_sent.wait()
    producer.acks[0].set_result(None)
    await publishing
