"""Records that are given up in time."""

import asyncio

from ingest.deadlines import Deadlines
from ingest.fate import Fate
from ingest.outbox import Waiting
from runtime.publisher import Message

LONG_S = 30.0


def record() -> Waiting:
    return Waiting(Message("topic", b"key", b"value"), asyncio.get_running_loop().create_future())


async def test_a_record_is_given_up_at_its_deadline_and_not_before() -> None:
    """Those of one tick together; one with a later deadline waits on."""
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    due_at_s = loop.time() + 0.05
    early = [record(), record()]
    late = record()
    for waiting in early:
        deadlines.watch(waiting, 0.05)
    deadlines.watch(late, LONG_S)
    assert {await asyncio.wait_for(waiting.fate, LONG_S) for waiting in early} == {Fate.REFUSED}
    assert loop.time() >= due_at_s
    assert not late.fate.done()


async def test_what_is_discarded_is_forgotten() -> None:
    """Under load there would be thousands of settled records otherwise; nor is one given up any more."""
    deadlines, done, other = Deadlines(), record(), record()
    due = deadlines.watch(done, 0.01)
    due.discard(done)
    deadlines.watch(other, 0.01)
    assert await asyncio.wait_for(other.fate, LONG_S) is Fate.REFUSED
    await asyncio.sleep(0)
    assert not done.fate.done()
    assert deadlines._ticks == {}


async def test_a_deadline_in_the_past_is_now() -> None:
    """Never an error: the time was used up by what came before."""
    deadlines, waiting = Deadlines(), record()
    deadlines.watch(waiting, -1.0)
    assert await asyncio.wait_for(waiting.fate, LONG_S) is Fate.REFUSED
