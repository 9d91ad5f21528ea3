"""What became of a record, against a producer whose acks the test holds."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata, TopicPartition

from ingest.delivery import LOG_APPEND_TIME, MISSES, KafkaDelivery
from ingest.fate import Fate
from runtime.clock_guard import ClockGuard
from runtime.errors import TransientError
from runtime.process import ProcessContext
from runtime.publisher import Message
from schemas.topics import MESSAGE_BYTES, WEBHOOKS_RAW
from tests.support.clock import START_MS, FakeClock
from tests.support.waiting import eventually

SOON_S = 0.01
LONG_S = 30.0
BATCH_BYTES = 10_000
ACK = RecordMetadata("topic", 0, TopicPartition("topic", 0), 7, START_MS, 0, 0)


class HeldProducer:
    """The part of an aiokafka producer that delivery uses; acks come when the test says so."""

    def __init__(self) -> None:
        self.acks: list[asyncio.Future[Any]] = []
        self.sent = asyncio.Semaphore(0)
        self.error: Exception | None = None
        self.full = asyncio.Event()
        self.full.set()
        self.stopped = False
        self.asked = 0
        self._sender: Any = None

    async def stop(self) -> None:
        self.stopped = True

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)

    async def send_batch(self, *_batch: object, **_place: object) -> "asyncio.Future[Any]":
        self.asked += 1
        await self.full.wait()
        if self.error is not None:
            raise self.error
        self.acks.append(asyncio.get_running_loop().create_future())
        self.sent.release()
        return self.acks[-1]


class Bench:
    """A delivery on a held producer."""

    def __init__(self, max_pending_bytes: int = 1000) -> None:
        self.clock = FakeClock()
        self.context = ProcessContext(clock=self.clock)
        self.guard = ClockGuard(self.clock)
        self.producer = HeldProducer()
        self.delivery = KafkaDelivery(self._unused, max_pending_bytes, self.context, self.guard)
        self.life = self.delivery.begin(self.producer)

    def _unused(self) -> Any:
        raise AssertionError("only `run` makes producers")

    def start(self, value: bytes, deadline_s: float = LONG_S) -> "asyncio.Task[Fate]":
        return asyncio.create_task(self.delivery.deliver(message(value), deadline_s))

    async def next_sent(self) -> None:
        """Return once one more record was handed to the producer."""
        await asyncio.wait_for(self.producer.sent.acquire(), LONG_S)

    async def is_handing_over(self) -> bool:
        return self.producer.asked > 0

    async def is_idle(self) -> bool:
        return self.pending == 0

    @property
    def pending(self) -> float | None:
        return self.context.metrics.registry.get_sample_value("alerts_webhook_pending")


def message(value: bytes) -> Message:
    return Message("topic", b"key", value)


async def test_nothing_is_taken_before_a_broker_has_answered() -> None:
    """Without a producer a record is refused at once, and the process is not ready."""
    delivery = KafkaDelivery(HeldProducer, 1000, ProcessContext(), ClockGuard(FakeClock()))
    assert await delivery.deliver(message(b"body"), LONG_S) is Fate.REFUSED
    with pytest.raises(TransientError):
        await delivery.check()


async def test_an_ack_in_time_is_told() -> None:
    """The record is durable, and no longer pending."""
    bench = Bench()
    delivering = bench.start(b"body")
    await bench.next_sent()
    assert bench.pending == 1
    bench.producer.acks[0].set_result(ACK)
    assert await delivering is Fate.ACKED
    assert bench.pending == 0


async def test_no_ack_in_time_leaves_the_record_on_its_way() -> None:
    """What was handed over stays handed over: it counts as pending until the producer lets go of it."""
    bench = Bench()
    assert await bench.start(b"body", SOON_S) is Fate.UNKNOWN
    assert not bench.producer.acks[0].cancelled()
    assert bench.pending == 1
    bench.producer.acks[0].set_result(ACK)
    await asyncio.sleep(0)
    assert bench.pending == 0


async def test_a_record_given_up_before_the_producer_has_room_is_never_handed_over() -> None:
    """Of the batch that waits for room nobody knows; what waits behind it will not be written."""
    bench = Bench()
    bench.producer.full.clear()
    first = bench.start(b"first", SOON_S)
    await eventually(bench.is_handing_over)
    assert await bench.start(b"second", SOON_S) is Fate.REFUSED
    assert await first is Fate.UNKNOWN
    bench.producer.full.set()
    await bench.next_sent()
    bench.producer.acks[0].set_result(ACK)
    await eventually(bench.is_idle)
    assert len(bench.producer.acks) == 1


async def test_more_than_the_bound_is_refused_without_waiting() -> None:
    """Bodies waiting for their acks are bounded; an ack makes room again."""
    bench = Bench(max_pending_bytes=10)
    first = bench.start(b"sixteen"[:6])
    await bench.next_sent()
    assert await bench.delivery.deliver(message(b"12345"), LONG_S) is Fate.REFUSED
    assert len(bench.producer.acks) == 1
    second = bench.start(b"1234")
    await bench.next_sent()
    bench.producer.acks[0].set_result(ACK)
    assert await first is Fate.ACKED
    third = bench.start(b"123456")
    await bench.next_sent()
    for ack in bench.producer.acks[1:]:
        ack.set_result(ACK)
    assert {await second, await third} == {Fate.ACKED}


async def test_empty_bodies_leave_nothing_pending() -> None:
    """A record without a body is counted in and out like any other."""
    bench = Bench()
    delivering = bench.start(b"")
    await bench.next_sent()
    bench.producer.acks[0].set_result(ACK)
    await delivering
    assert bench.pending == 0


@pytest.mark.parametrize(
    ("error", "spoils"),
    [(KafkaConnectionError(), False), (ProducerFenced(), True)],
)
async def test_an_error_when_handing_over_is_a_refusal(error: Exception, *, spoils: bool) -> None:
    """Never raised to the caller; a producer that cannot go on is given up, the process goes on."""
    bench = Bench()
    bench.producer.error = error
    assert await bench.start(b"body") is Fate.REFUSED
    assert bench.life.spoiled.is_set() is spoils
    assert not bench.context.failed.done()


@pytest.mark.parametrize(
    ("error", "spoils"),
    [(KafkaConnectionError(), False), (ProducerFenced(), True), (OutOfOrderSequenceNumber(), True)],
)
async def test_a_failed_ack_tells_nothing_certain(error: Exception, *, spoils: bool) -> None:
    """The broker may have written the record before it failed."""
    bench = Bench()
    delivering = bench.start(b"body")
    await bench.next_sent()
    bench.producer.acks[0].set_exception(error)
    assert await delivering is Fate.UNKNOWN
    assert bench.life.spoiled.is_set() is spoils
    assert bench.pending == 0


async def test_a_record_too_large_for_its_topic_is_told_apart_at_once() -> None:
    """Refused by the broker it would have used up a sequence number."""
    bench = Bench(max_pending_bytes=10 * MESSAGE_BYTES)
    too_large = Message(WEBHOOKS_RAW.name, b"key", bytes(MESSAGE_BYTES + 1))
    assert await bench.delivery.deliver(too_large, LONG_S) is Fate.IMPOSSIBLE
    assert (bench.producer.asked, bench.pending, bench.life.misses) == (0, 0, 0)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_record_that_kafka_will_never_take_is_told_apart(*, at_once: bool) -> None:
    """Refused by the client or by the broker, which has answered and so is not silent."""
    bench = Bench()
    bench.producer.error = MessageSizeTooLargeError() if at_once else None
    delivering = bench.start(b"body")
    if not at_once:
        await bench.next_sent()
        bench.producer.acks[0].set_exception(MessageSizeTooLargeError())
    assert await delivering is Fate.IMPOSSIBLE
    assert (bench.life.misses, bench.life.spoiled.is_set()) == (0, False)


async def test_an_ack_that_fails_after_its_deadline_is_heard() -> None:
    """A fatal error gives the producer up, whether or not anybody still waits."""
    bench = Bench()
    assert await bench.start(b"body", SOON_S) is Fate.UNKNOWN
    bench.producer.acks[0].set_exception(ProducerFenced())
    await asyncio.wait_for(bench.life.spoiled.wait(), LONG_S)


async def test_a_producer_without_one_of_its_tasks_is_given_up() -> None:
    """It acks nothing any more, and says nothing of it."""
    bench = Bench()
    task = asyncio.get_running_loop().create_future()
    bench.producer._sender = SimpleNamespace(sender_task=task)
    assert await bench.start(b"body", SOON_S) is Fate.UNKNOWN
    assert not bench.life.spoiled.is_set()
    task.set_result(None)
    assert await bench.start(b"body", SOON_S) is Fate.UNKNOWN
    assert bench.life.spoiled.is_set()


async def test_kafka_is_silent_after_some_misses_in_a_row_until_an_ack() -> None:
    """Also an ack that comes too late for its record."""
    bench = Bench()
    for _ in range(MISSES):
        assert not bench.delivery.silent
        assert await bench.start(b"body", SOON_S) is Fate.UNKNOWN
    assert bench.delivery.silent
    with pytest.raises(TransientError, match="acks nothing"):
        await bench.delivery.check()
    bench.producer.acks[0].set_result(ACK)
    await asyncio.sleep(0)
    assert not bench.delivery.silent
    await bench.delivery.check()


async def test_a_spoiled_producer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next record goes to a new one, and what the old one held counts no longer."""
    made: list[HeldProducer] = []

    async def started(create: Any) -> HeldProducer:
        made.append(create())
        return made[-1]

    monkeypatch.setattr("ingest.delivery.until_started", started)
    context = ProcessContext()
    delivery = KafkaDelivery(HeldProducer, 10, context, ClockGuard(context.clock))
    running = asyncio.create_task(delivery.run())
    await eventually(lambda: is_up(delivery))
    assert await delivery.deliver(message(b"stuck"), SOON_S) is Fate.UNKNOWN
    made[0].error = ProducerFenced()
    assert await delivery.deliver(message(b"1"), LONG_S) is Fate.REFUSED
    await eventually(lambda: two_made(made))
    await eventually(lambda: is_up(delivery))
    delivering = asyncio.create_task(delivery.deliver(message(b"0123456789"), LONG_S))
    await made[1].sent.acquire()
    made[1].acks[0].set_result(ACK)
    assert await delivering is Fate.ACKED
    assert made[0].stopped
    assert context.metrics.registry.get_sample_value("alerts_producers_replaced_total") == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def is_up(delivery: KafkaDelivery) -> bool:
    return delivery._life is not None


async def two_made(made: list[HeldProducer]) -> bool:
    return len(made) == 2


@pytest.mark.parametrize(("timestamp_type", "noticed"), [(LOG_APPEND_TIME, True), (0, False)])
async def test_an_ack_with_the_brokers_time_checks_our_clock(timestamp_type: int, *, noticed: bool) -> None:
    """A clock that was always wrong is found out; a time that we made ourselves proves nothing."""
    bench = Bench()
    delivering = bench.start(b"body")
    await bench.next_sent()
    ack = ACK._replace(timestamp=START_MS - 10 * 60_000, timestamp_type=timestamp_type)
    bench.producer.acks[0].set_result(ack)
    assert await delivering is Fate.ACKED
    if noticed:
        with pytest.raises(TransientError, match="ahead of the broker"):
            bench.guard.check()
    else:
        bench.guard.check()
