import asyncio

import pytest

from runtime.streams.intake import Intake, IntakeClosed, Portion
from runtime.streams.record import TopicPartition
from tests.support.clock import FakeClock
from tests.support.records import record, records


async def admit(intake: Intake, *offsets: int, generation: int = 1) -> None:
    for offset in offsets:
        await intake.admit(record(offset, generation=generation), lambda: None)


async def turns(count: int = 5) -> None:
    """Let every task that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_records_are_handed_out_in_the_order_of_admission() -> None:
    """At most as many as asked for, and all that there are."""
    intake = Intake(10, FakeClock())
    await admit(intake, 1, 2, 3)
    assert await intake.take(2) == records([1, 2])
    assert await intake.take(2) == records([3])


async def test_taking_waits_for_the_first_record() -> None:
    """An empty intake hands out nothing, not an empty batch."""
    intake = Intake(10, FakeClock())
    taking = asyncio.create_task(intake.take(5))
    await turns()
    assert not taking.done()
    await admit(intake, 1)
    assert await taking == records([1])


async def test_a_full_intake_pushes_back() -> None:
    """Admission waits for room, so the broker's records stay with the broker."""
    intake = Intake(2, FakeClock())
    await admit(intake, 1, 2)
    third = asyncio.create_task(admit(intake, 3))
    await turns()
    assert not third.done()
    assert intake.admitted == 2
    assert await intake.take(1) == records([1])
    await third
    assert await intake.take(5) == records([2, 3])


async def test_cancelled_admission_admits_nothing() -> None:
    """A stopped loop leaves no trace of the record it held."""
    intake = Intake(1, FakeClock())
    await admit(intake, 1)
    second = asyncio.create_task(admit(intake, 2))
    await turns()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert await intake.take(5) == records([1])
    intake.finish(record(1))
    assert intake.ledger.oldest_admitted_at_s() is None


async def test_a_closed_intake_hands_out_nothing_more() -> None:
    """Neither to those who wait nor to those who come, whatever still lies in it unacknowledged."""
    intake = Intake(10, FakeClock())
    taking = asyncio.create_task(intake.take(5))
    await turns()
    await intake.close()
    with pytest.raises(IntakeClosed):
        await taking
    await admit(intake, 1)
    with pytest.raises(IntakeClosed):
        await intake.take(5)
    assert intake.ledger.oldest_admitted_at_s() is not None


async def test_records_of_an_earlier_assignment_are_dropped() -> None:
    """They are delivered again to whoever owns the partition now."""
    intake = Intake(10, FakeClock())
    await admit(intake, 1, 2, generation=1)
    await admit(intake, 1, generation=2)
    assert await intake.take(5) == [record(1, generation=2)]


async def test_only_stale_records_make_the_taker_wait_on_and_make_room() -> None:
    """Dropping them frees their room; the batch is never empty."""
    intake = Intake(2, FakeClock())
    await admit(intake, 1, 2, generation=1)
    intake.ledger.drop_older_than(2)
    taking = asyncio.create_task(intake.take(5))
    await turns()
    assert not taking.done()
    await admit(intake, 1, 2, generation=2)
    assert await taking == [record(1, generation=2), record(2, generation=2)]


async def test_the_age_of_the_oldest_is_what_the_watchdog_sees() -> None:
    """It counts from admission until the effect is durable, over waiting and working records."""
    clock = FakeClock()
    intake = Intake(10, clock)
    assert intake.oldest_age_s() == 0
    await admit(intake, 1)
    clock.move(2)
    await admit(intake, 2)
    clock.move(3)
    assert intake.oldest_age_s() == 5
    for item in await intake.take(5):
        assert intake.oldest_age_s() > 0
        intake.finish(item)
    assert intake.oldest_age_s() == 0


async def test_each_call_gets_partitions_of_its_own_from_a_backlog() -> None:
    """In order; and what the other does not come for, once nothing else is left."""
    intake = Intake(10, FakeClock())
    places = [TopicPartition("signals", partition) for partition in range(3)]
    backlog = [record(offset, source=place) for offset in range(3) for place in places]
    for item in backlog:
        await intake.admit(item, lambda: None)
    even = [item for item in backlog if item.source.partition % 2 == 0]
    odd = [item for item in backlog if item.source.partition == 1]
    assert await intake.take(2, Portion(1, 2)) == odd[:2]
    assert await intake.take(4, Portion(0, 2)) == even[:4]
    assert await intake.take(2, Portion(1, 2)) == odd[2:]
    assert await intake.take(1, Portion(1, 2)) == even[4:5]
    assert await intake.take(1) == even[5:]


async def test_without_a_backlog_a_call_gets_all_there_is() -> None:
    """One batch of all partitions costs less than two."""
    intake = Intake(10, FakeClock())
    waiting = [record(1, source=TopicPartition("signals", partition)) for partition in range(4)]
    for item in waiting:
        await intake.admit(item, lambda: None)
    assert await intake.take(4, Portion(1, 2)) == waiting
