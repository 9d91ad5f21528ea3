"""Calls that take from one intake, against what it promises them."""

import asyncio
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.streams.intake import Intake, Portion
from runtime.streams.record import StreamRecord
from tests.support.clock import FakeClock
from tests.support.records import record

CALLS = 3
KEYS = [b"a", b"b", b"c", b"d"]
ENOUGH_TURNS = 10

Step = tuple[str, int]
steps = st.one_of(
    st.tuples(st.just("admit"), st.integers(0, len(KEYS) - 1)),
    st.tuples(st.just("take"), st.integers(0, CALLS - 1)),
    st.tuples(st.just("release"), st.integers(0, CALLS - 1)),
)


@settings(max_examples=200, deadline=None)
@given(told=st.lists(steps, max_size=60), limit=st.integers(1, 4))
def test_calls_have_no_key_in_common_and_none_is_idle_for_nothing(told: list[Step], limit: int) -> None:
    """Whatever comes when: of each key all is handed out once and in order, never to two calls at a time."""
    asyncio.run(check(told, limit))


async def check(told: list[Step], limit: int) -> None:
    intake = Intake(len(told) + 1, FakeClock())
    in_work: dict[int, list[StreamRecord]] = {}
    waiting: dict[bytes | None, list[StreamRecord]] = defaultdict(list)
    for offset, (step, number) in enumerate(told):
        if step == "admit":
            item = record(offset, key=KEYS[number])
            await intake.admit(item, lambda: None)
            waiting[item.key].append(item)
        elif step == "release":
            intake.release(in_work.pop(number, []))
        elif number not in in_work:
            busy = {item.key for items in in_work.values() for item in items}
            may_go = [item for key, items in waiting.items() if key not in busy for item in items]
            taken = await take(intake, limit, Portion(number, CALLS))
            assert bool(taken) == bool(may_go)
            assert len(taken) <= limit
            for item in taken:
                assert item.key not in busy
                assert item == waiting[item.key].pop(0)
            if taken:
                in_work[number] = taken


async def take(intake: Intake, limit: int, portion: Portion) -> list[StreamRecord]:
    """What there is for the call; nothing if it would have to wait."""
    taking = asyncio.create_task(intake.take(limit, portion))
    for _turn in range(ENOUGH_TURNS):
        await asyncio.sleep(0)
    if taking.done():
        return taking.result()
    taking.cancel()
    await asyncio.wait({taking})
    return []
