import asyncio
from collections.abc import Sequence

import pytest

from runtime.streams.intake import Intake, IntakeClosed, Portion
from runtime.streams.record import StreamRecord
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


def records_of(*keys: bytes) -> list[StreamRecord]:
    return [record(offset, key=key) for offset, key in enumerate(keys)]


async def admit_all(intake: Intake, records: Sequence[StreamRecord]) -> None:
    for item in records:
        await intake.admit(item, lambda: None)


async def test_calls_share_a_backlog_by_its_keys() -> None:
    """Each in order; who finds nothing of its own on it takes what the other has not come for."""
    intake = Intake(100, FakeClock())
    keys = [b"tenant-%d" % number for number in range(6)]
    backlog = records_of(*keys * 3)
    await admit_all(intake, backlog)
    mine, others = ([item for item in backlog if Portion(number, 2).holds(item)] for number in range(2))
    assert mine
    for call in (len(mine) - 1, 1):
        taken = await intake.take(call, Portion(0, 2))
        assert taken == mine[:call]
        intake.release(taken)
        del mine[:call]
    assert await intake.take(2, Portion(0, 2)) == others[:2]


async def test_a_key_is_in_one_call_at_a_time() -> None:
    """What comes of it meanwhile waits, in order; others pass, and the call that is free serves them."""
    intake = Intake(10, FakeClock())
    flood = [record(offset, key=b"flooder") for offset in range(4)]
    await admit_all(intake, flood[:2])
    first = await intake.take(5, Portion(0, 2))
    assert first == flood[:2]
    neighbour = record(9, key=b"neighbour")
    await admit_all(intake, [*flood[2:], neighbour])
    assert await intake.take(5, Portion(1, 2)) == [neighbour]
    waiting = asyncio.create_task(intake.take(5, Portion(1, 2)))
    await turns()
    assert not waiting.done()
    intake.release(first)
    assert await waiting == flood[2:]


async def test_a_call_alone_takes_whatever_comes() -> None:
    """Nothing is in work beside it."""
    intake = Intake(10, FakeClock())
    same = records_of(b"a", b"a", b"a")
    await admit_all(intake, same)
    assert await intake.take(2) == same[:2]
    assert await intake.take(2) == same[2:]


async def test_without_a_backlog_a_call_gets_all_there_is() -> None:
    """One batch of all tenants costs less than two."""
    intake = Intake(10, FakeClock())
    waiting = records_of(b"a", b"b", b"a", b"c")
    for item in waiting:
        await intake.admit(item, lambda: None)
    assert await intake.take(4, Portion(1, 2)) == waiting
