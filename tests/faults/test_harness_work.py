"""What becomes of failing and unfinished work, on real parts: plain Faust beside the harness."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support.harness.run import Scene, Worker, assert_nothing_lost, running, scene
from tests.support.harness.spec import Event, Form
from tests.support.stack import Databases

pytestmark = pytest.mark.timeout(120)

QUICK = [Event(str(number)) for number in range(8)]
IDS = {event.id for event in QUICK}
SETTLE_S = 2.0
"""Several commit intervals: what will be committed is."""


@dataclass(frozen=True)
class Twins:
    """The same scene for plain Faust and for ours."""

    plain: Scene
    ours: Scene


@pytest.fixture
async def twins(kafka_bootstrap: str, databases: Databases) -> AsyncIterator[Twins]:
    async with (
        scene("plain", kafka_bootstrap, databases, 2) as plain,
        scene("ours", kafka_bootstrap, databases, 2) as ours,
    ):
        yield Twins(plain, ours)


def with_event(changed: Event) -> list[Event]:
    return [changed if event.id == changed.id else event for event in QUICK]


@asynccontextmanager
async def started(place: Scene, **values: object) -> AsyncIterator[Worker]:
    async with running(place.spec(**values)) as worker:
        await worker.said("started")
        yield worker


async def run_once(place: Scene, events: list[Event], form: Form) -> Worker:
    """A worker that gets through all it can and is then told to stop."""
    await place.produce(events)
    async with started(place, form=form) as worker:
        await worker.said(f"done {events[-1].id}")
        await asyncio.sleep(SETTLE_S)
        await worker.terminate()
    return worker


@pytest.mark.parametrize("form", ["single", "batch"])
async def test_an_exception_in_the_body(twins: Twins, form: Form) -> None:
    """Plain Faust acknowledges what raised, a whole batch of it; ours tries again."""
    events = with_event(Event("3", fail="once"))
    _plain, ours = await asyncio.gather(
        run_once(twins.plain, events, form), run_once(twins.ours, events, form)
    )
    lost = IDS - await twins.plain.effects()
    assert "3" in lost
    assert (len(lost) > 1) == (form == "batch")
    assert await twins.plain.lag() == 0
    await assert_nothing_lost(twins.ours, events, [ours])


@pytest.mark.parametrize("form", ["single", "batch"])
async def test_a_poison_message(twins: Twins, form: Form) -> None:
    """Plain Faust drops it without a trace; ours keeps it as a dead letter, and its neighbours are done."""
    poison = Event("3", fail="invalid")
    events = with_event(poison)
    _plain, ours = await asyncio.gather(
        run_once(twins.plain, events, form), run_once(twins.ours, events, form)
    )
    assert "3" not in await twins.plain.effects()
    assert await twins.plain.lag() == 0
    assert await twins.plain.dead_letters() == set()
    await assert_nothing_lost(twins.ours, events, [ours], [poison])


async def killed_over_a_slow_head(place: Scene) -> list[Worker]:
    """The head is in work, all behind it is done, the worker dies; then another works."""
    events = with_event(Event("0", sleep_s=6))
    await place.produce(events)
    # a dead member of plain Faust would otherwise hold its partitions for a minute
    short = {"broker_session_timeout": 6, "broker_heartbeat_interval": 2}
    async with started(place, form="jobs", instance_id="one", faust=short) as first:
        await first.said(*(f"done {event.id}" for event in events[1:]))
        await asyncio.sleep(SETTLE_S)
        await first.kill()
    async with started(place, form="jobs", instance_id="one", faust=short) as second:
        if place.flavour == "ours":
            await second.said("done 0")
            await place.all_committed()
        else:
            await asyncio.sleep(SETTLE_S)
        await second.terminate()
    return [second]


async def test_kill_9_with_parallel_jobs_that_end_out_of_order(twins: Twins) -> None:
    """Plain Faust commits past the job in flight; ours commits nothing behind it."""
    _plain, ours = await asyncio.gather(
        killed_over_a_slow_head(twins.plain), killed_over_a_slow_head(twins.ours)
    )
    assert await twins.plain.lag() == 0
    assert "0" not in await twins.plain.effects()
    await assert_nothing_lost(twins.ours, QUICK, ours)


async def killed_in_flight(place: Scene) -> Worker:
    await place.produce([Event("slow", sleep_s=3)])
    async with started(place, instance_id="one") as first:
        await first.said("began slow")
        await first.kill()
    async with running(place.spec(instance_id="one")) as second:
        if place.flavour == "plain":
            # the coordinator waits for the dead member, a minute by default
            with pytest.raises(AssertionError, match="not said"):
                await second.said("started", within_s=12)
            await second.kill()
        else:
            await second.said("done slow", within_s=20)
            await place.all_committed()
            await second.terminate()
    return second


async def test_kill_9_with_an_event_in_flight(twins: Twins) -> None:
    """Plain Faust's partition stands still until the session of the dead has ended; ours goes on at once."""
    _plain, ours = await asyncio.gather(killed_in_flight(twins.plain), killed_in_flight(twins.ours))
    assert await twins.plain.effects() == set()
    await assert_nothing_lost(twins.ours, [Event("slow")], [ours])


async def stopped_in_work(place: Scene, form: Form, faust: dict[str, object]) -> list[Worker]:
    """Stopped while the fourth event is in work; then another worker gets through."""
    await place.produce(with_event(Event("3", sleep_s=6)))
    async with started(place, form=form, faust=faust) as first:
        await first.said("began 3")
        await first.terminate(deadline_s=5 if faust.get("stream_wait_empty", True) else 12)
    if first.ending == "hung":
        return [first]
    async with started(place, form=form, faust=faust) as second:
        await second.said("done 7")
        if place.flavour == "ours":
            await place.all_committed()
        else:
            await asyncio.sleep(SETTLE_S)
        await second.terminate()
    return [first, second]


@pytest.mark.parametrize("form", ["single", "batch", "jobs"])
async def test_a_graceful_stop_in_the_middle_of_work(twins: Twins, form: Form) -> None:
    """Not waiting for streams, plain Faust cancels the work and commits it; ours leaves it to the next."""
    _plain, ours = await asyncio.gather(
        stopped_in_work(twins.plain, form, {"stream_wait_empty": False}),
        stopped_in_work(twins.ours, form, {"stream_wait_empty": False}),
    )
    assert "3" not in await twins.plain.effects()
    assert await twins.plain.lag() == 0
    await assert_nothing_lost(twins.ours, QUICK, ours)


async def test_a_graceful_stop_does_not_wait_for_ever(twins: Twins) -> None:
    """By default plain Faust waits for the work, however long that takes; ours has a deadline."""
    plain, ours = await asyncio.gather(
        stopped_in_work(twins.plain, "single", {}),
        stopped_in_work(twins.ours, "single", {"stream_wait_empty": False}),
    )
    assert [worker.ending for worker in plain] == ["hung"]
    await assert_nothing_lost(twins.ours, QUICK, ours)
