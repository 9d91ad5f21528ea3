"""How the spool is emptied, against a spool and a Kafka that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from ingest.drain import Deliver, DrainLimits, SpoolDrain
from ingest.spool import SpoolRefusal, SpoolRefusedError
from ingest.spool_folder import RecordNumber, SpooledMessage
from runtime.publisher import Message
from tests.support.clock import EagerClock, FakeClock
from tests.support.spool import message

LIMITS = DrainLimits(records_per_s=10.0, batch=5, idle_s=1.0)


class MemorySpool:
    """Keeps records as the spool does, in memory."""

    def __init__(self, records: int) -> None:
        self.left = [SpooledMessage(RecordNumber(1, row), 0, message(row)) for row in range(records)]
        self.refuses_reads = False
        self.refuses_removals = False
        self.empty = asyncio.Event()

    async def oldest(self, limit: int) -> list[SpooledMessage]:
        await asyncio.sleep(0)
        if self.refuses_reads:
            raise SpoolRefusedError(SpoolRefusal.DISK)
        return self.left[:limit]

    async def remove(self, numbers: Iterable[RecordNumber]) -> None:
        removed = set(numbers)
        await asyncio.sleep(0)
        self.left = [one for one in self.left if one.number not in removed]
        if not self.left:
            self.empty.set()
        if self.refuses_removals:
            raise SpoolRefusedError(SpoolRefusal.DISK)


class Kafka:
    """Acks or refuses by record; counts what is in flight."""

    def __init__(self) -> None:
        self.tried: list[int] = []
        self.acked: list[int] = []
        self.accepts: Callable[[int], bool] = lambda _number: True
        self.in_flight = self.most_in_flight = 0

    async def deliver(self, record: Message) -> bool:
        number = int(record.value)
        self.tried.append(number)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if not self.accepts(number):
            return False
        self.acked.append(number)
        return True


@asynccontextmanager
async def draining(
    spool: MemorySpool, deliver: Deliver, clock: FakeClock, limits: DrainLimits = LIMITS
) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(SpoolDrain(spool, deliver, clock, limits).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_slept(clock: FakeClock, times: int) -> None:
    """Return once the drain has gone to sleep that often."""
    async with asyncio.timeout(30):
        while len(clock.sleeps_s) < times:  # noqa: ASYNC110 - a fake clock tells nobody
            await asyncio.sleep(0)


async def until_empty(spool: MemorySpool) -> None:
    async with asyncio.timeout(30):
        await spool.empty.wait()


async def test_records_go_in_order_in_bounded_batches() -> None:
    """Never more in flight than a batch, each delivered once, none left."""
    spool, kafka = MemorySpool(12), Kafka()
    async with draining(spool, kafka.deliver, EagerClock()):
        await until_empty(spool)
    assert kafka.acked == kafka.tried == list(range(12))
    assert kafka.most_in_flight == 5


async def test_the_rate_is_held() -> None:
    """Five records at ten a second are followed by half a second's wait."""
    spool, kafka, clock = MemorySpool(12), Kafka(), FakeClock()
    async with draining(spool, kafka.deliver, clock):
        await until_slept(clock, 1)
        assert len(kafka.acked) == 5
        await clock.advance(0.5)
        await until_slept(clock, 2)
        assert len(kafka.acked) == 10
    assert clock.sleeps_s == pytest.approx([0.5, 0.5])


async def test_time_a_batch_took_counts_for_the_rate() -> None:
    """A slow Kafka is not slowed down further."""
    spool, clock = MemorySpool(3), FakeClock()

    async def slow(_record: Message) -> bool:
        clock.move(0.25)
        return True

    async with draining(spool, slow, clock, DrainLimits(records_per_s=1.0, batch=1)):
        await until_slept(clock, 1)
    assert clock.sleeps_s == pytest.approx([0.75])


async def test_only_acked_records_are_removed() -> None:
    """The others stay, and are tried again with growing waits until Kafka takes them."""
    spool, kafka, clock = MemorySpool(4), Kafka(), FakeClock()
    kafka.accepts = lambda number: number in {1, 3}
    async with draining(spool, kafka.deliver, clock):
        await until_slept(clock, 1)
        assert [one.number.row for one in spool.left] == [0, 2]
        kafka.accepts = lambda _number: True
        await clock.advance(0.1)
        await until_slept(clock, 2)
        await clock.advance(0.1)
        await until_empty(spool)
    assert kafka.acked == [1, 3, 0, 2]


async def test_one_record_probes_a_kafka_that_is_away() -> None:
    """Waits double up to their cap; whole batches go again after the first ack."""
    spool, kafka, clock = MemorySpool(20), Kafka(), EagerClock()
    kafka.accepts = lambda _number: len(kafka.tried) > 15
    async with draining(spool, kafka.deliver, clock):
        await until_empty(spool)
    assert kafka.tried[:16] == [0, 1, 2, 3, 4, *[0] * 11]
    assert clock.sleeps_s[:9] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    assert kafka.tried[16:22] == [1, 2, 3, 4, 5, 6]
    assert kafka.acked == list(range(20))
    assert clock.sleeps_s[-1] < 1


async def test_a_second_outage_begins_with_short_waits() -> None:
    """An ack in between starts the waits anew."""
    spool, kafka, clock = MemorySpool(8), Kafka(), EagerClock()
    refused = {*range(1, 9), *range(14, 20)}
    kafka.accepts = lambda _number: len(kafka.tried) not in refused
    async with draining(spool, kafka.deliver, clock):
        await until_empty(spool)
    assert clock.sleeps_s.count(0.1) >= 2


async def test_a_delivery_that_raises_is_tried_again() -> None:
    """It is reported by its type, and neither ends the drain nor loses the record."""
    spool, kafka, clock = MemorySpool(2), Kafka(), EagerClock()

    async def once_broken(record: Message) -> bool:
        if not kafka.tried:
            kafka.tried.append(-1)
            raise ValueError(record.value)
        return await kafka.deliver(record)

    with capture_logs() as logs:
        async with draining(spool, once_broken, clock):
            await until_empty(spool)
    assert kafka.acked == [1, 0]
    assert [log["error"] for log in logs] == ["ValueError"]


async def test_a_spool_that_cannot_be_read_is_read_later() -> None:
    """With growing waits."""
    spool, kafka, clock = MemorySpool(1), Kafka(), FakeClock()
    spool.refuses_reads = True
    async with draining(spool, kafka.deliver, clock):
        for tries, wait_s in enumerate((0.1, 0.2, 0.4), start=1):
            await until_slept(clock, tries)
            await clock.advance(wait_s)
        await until_slept(clock, 4)
        spool.refuses_reads = False
        await clock.advance(0.8)
        await until_empty(spool)
    assert clock.sleeps_s[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])


async def test_a_disk_that_keeps_what_was_removed_does_not_slow_the_drain() -> None:
    """On a full disk the drain is what makes room."""
    spool, kafka, clock = MemorySpool(10), Kafka(), EagerClock()
    spool.refuses_removals = True
    async with draining(spool, kafka.deliver, clock):
        await until_empty(spool)
    assert kafka.acked == list(range(10))
    assert set(clock.sleeps_s) <= {0.5, 1.0}


async def test_an_empty_spool_is_looked_at_from_time_to_time() -> None:
    """What is put later is found."""
    spool, kafka, clock = MemorySpool(0), Kafka(), FakeClock()
    async with draining(spool, kafka.deliver, clock):
        await until_slept(clock, 1)
        assert clock.sleeps_s == [1.0]
        spool.left = MemorySpool(1).left
        await clock.advance(1.0)
        await until_empty(spool)
    assert kafka.acked == [0]


async def test_a_cancelled_drain_removes_nothing_unacked() -> None:
    """What was in flight at the end is there for the next one."""
    spool, clock, reached = MemorySpool(2), FakeClock(), asyncio.Event()

    async def held(_record: Message) -> bool:
        reached.set()
        await asyncio.Event().wait()
        return True

    async with draining(spool, held, clock) as task:
        await reached.wait()
    assert task.cancelled()
    assert len(spool.left) == 2
