"""What became of a record, against a producer whose acks the test holds."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, ProducerFenced

from ingest.delivery import Fate, KafkaDelivery
from runtime.errors import TransientError
from runtime.process import ProcessContext
from runtime.publisher import Message

SOON_S = 0.01
LONG_S = 30.0


class HeldProducer:
    """The part of an aiokafka producer that delivery uses; acks come when the test says so."""

    def __init__(self) -> None:
        self.acks: list[asyncio.Future[Any]] = []
        self.sent = asyncio.Semaphore(0)
        self.error: Exception | None = None
        self.full = asyncio.Event()
        self.full.set()

    async def send(self, *_place: object, **_record: object) -> "asyncio.Future[Any]":
        await self.full.wait()
        if self.error is not None:
            raise self.error
        self.acks.append(asyncio.get_running_loop().create_future())
        self.sent.release()
        return self.acks[-1]


class Bench:
    """A delivery on a held producer."""

    def __init__(self, max_pending_bytes: int = 1000) -> None:
        self.context = ProcessContext()
        self.producer = HeldProducer()
        self.delivery = KafkaDelivery(max_pending_bytes, self.context)
        self.delivery._producer = self.producer

    def start(self, value: bytes, deadline_s: float = LONG_S) -> "asyncio.Task[Fate]":
        return asyncio.create_task(self.delivery.deliver(message(value), deadline_s))

    async def next_sent(self) -> None:
        """Return once one more record was handed to the producer."""
        await asyncio.wait_for(self.producer.sent.acquire(), LONG_S)

    @property
    def pending(self) -> float | None:
        return self.context.metrics.registry.get_sample_value("alerts_webhook_pending")


def message(value: bytes) -> Message:
    return Message("topic", b"key", value)


async def test_nothing_is_taken_before_a_broker_has_answered() -> None:
    """Without a producer a record is refused at once, and the process is not ready."""
    delivery = KafkaDelivery(1000, ProcessContext())
    assert await delivery.deliver(message(b"body"), LONG_S) is Fate.REFUSED
    with pytest.raises(TransientError):
        await delivery.check()


async def test_an_ack_in_time_is_told() -> None:
    """The record is durable, and no longer pending."""
    bench = Bench()
    delivering = bench.start(b"body")
    await bench.next_sent()
    assert bench.pending == 1
    bench.producer.acks[0].set_result(None)
    assert await delivering is Fate.ACKED
    assert bench.pending == 0


async def test_no_ack_in_time_leaves_the_record_on_its_way() -> None:
    """What was handed over stays handed over: it counts as pending until the producer lets go of it."""
    bench = Bench()
    assert await bench.start(b"body", SOON_S) is Fate.UNKNOWN
    assert not bench.producer.acks[0].cancelled()
    assert bench.pending == 1
    bench.producer.acks[0].set_result(None)
    await asyncio.sleep(0)
    assert bench.pending == 0


async def test_a_record_that_finds_no_room_in_the_producer_was_never_handed_over() -> None:
    """A full batch makes the producer wait; a record given up there will not be written."""
    bench = Bench()
    bench.producer.full.clear()
    assert await bench.start(b"body", SOON_S) is Fate.REFUSED
    bench.producer.full.set()
    await asyncio.sleep(0)
    assert bench.producer.acks == []


async def test_more_than_the_bound_is_refused_without_waiting() -> None:
    """Bodies waiting for their acks are bounded; an ack makes room again."""
    bench = Bench(max_pending_bytes=10)
    first = bench.start(b"sixteen"[:6])
    await bench.next_sent()
    assert await bench.delivery.deliver(message(b"12345"), LONG_S) is Fate.REFUSED
    assert len(bench.producer.acks) == 1
    second = bench.start(b"1234")
    await bench.next_sent()
    bench.producer.acks[0].set_result(None)
    assert await first is Fate.ACKED
    third = bench.start(b"123456")
    await bench.next_sent()
    for ack in bench.producer.acks[1:]:
        ack.set_result(None)
    assert {await second, await third} == {Fate.ACKED}


async def test_empty_bodies_leave_nothing_pending() -> None:
    """A record without a body is counted in and out like any other."""
    bench = Bench()
    delivering = bench.start(b"")
    await bench.next_sent()
    bench.producer.acks[0].set_result(None)
    await delivering
    assert bench.pending == 0


@pytest.mark.parametrize(
    ("error", "ends_the_process"),
    [(KafkaConnectionError(), False), (MessageSizeTooLargeError(), False), (ProducerFenced(), True)],
)
async def test_an_error_when_handing_over_is_a_refusal(error: Exception, *, ends_the_process: bool) -> None:
    """Never raised to the caller; a producer that cannot go on ends the process."""
    bench = Bench()
    bench.producer.error = error
    assert await bench.start(b"body") is Fate.REFUSED
    assert bench.context.failed.done() is ends_the_process


@pytest.mark.parametrize(
    ("error", "ends_the_process"), [(KafkaConnectionError(), False), (ProducerFenced(), True)]
)
async def test_a_failed_ack_tells_nothing_certain(error: Exception, *, ends_the_process: bool) -> None:
    """The broker may have written the record before it failed."""
    bench = Bench()
    delivering = bench.start(b"body")
    await bench.next_sent()
    bench.producer.acks[0].set_exception(error)
    assert await delivering is Fate.UNKNOWN
    assert bench.context.failed.done() is ends_the_process
    assert bench.pending == 0


async def test_an_ack_that_fails_after_its_deadline_is_heard() -> None:
    """A fatal error of the producer ends the process, whether or not anybody still waits."""
    bench = Bench()
    assert await bench.start(b"body", SOON_S) is Fate.UNKNOWN
    bench.producer.acks[0].set_exception(ProducerFenced())
    await asyncio.wait_for(bench.context.failed, LONG_S)
