"""What becomes of failing and unfinished work, on real parts: plain Faust beside the harness."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from runtime.process import EXIT_FAILED
from runtime.streams.share import ShareLimits
from tests.support.harness.run import Scene, Twins, Worker, assert_nothing_lost, running, started, twins
from tests.support.harness.spec import Event, Form
from tests.support.stack import Databases
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

QUICK = [Event(str(number)) for number in range(8)]
IDS = {event.id for event in QUICK}
COMMIT_S = 1.5
"""Three commit intervals of ours: what it would commit, it has."""


@pytest.fixture
async def both(kafka_bootstrap: str, databases: Databases) -> AsyncIterator[Twins]:
    async with twins(kafka_bootstrap, databases) as both:
        yield both


def with_event(changed: Event) -> list[Event]:
    return [changed if event.id == changed.id else event for event in QUICK]


async def run_once(place: Scene, events: list[Event], form: Form) -> Worker:
    """A worker that gets through all it can and is then told to stop."""
    await place.produce(events)
    async with started(place, form=form) as worker:
        await worker.said(f"done {events[-1].id}")
        await place.all_committed()
        await worker.terminate()
    return worker


@pytest.mark.parametrize("form", ["single", "batch"])
async def test_an_exception_in_the_body(both: Twins, form: Form) -> None:
    """Plain Faust acknowledges what raised, a whole batch of it; ours tries again."""
    events = with_event(Event("3", fail="once"))
    _plain, ours = await asyncio.gather(run_once(both.plain, events, form), run_once(both.ours, events, form))
    lost = IDS - await both.plain.effects()
    assert "3" in lost
    assert (len(lost) > 1) == (form == "batch")
    assert await both.plain.lag() == 0
    await assert_nothing_lost(both.ours, events, [ours])


@pytest.mark.parametrize("form", ["single", "batch"])
async def test_a_poison_message(both: Twins, form: Form) -> None:
    """Plain Faust drops it without a trace; ours keeps it as a dead letter, and its neighbours are done."""
    poison = Event("3", fail="invalid")
    events = with_event(poison)
    _plain, ours = await asyncio.gather(run_once(both.plain, events, form), run_once(both.ours, events, form))
    assert "3" not in await both.plain.effects()
    assert await both.plain.lag() == 0
    assert await both.plain.dead_letters() == []
    await assert_nothing_lost(both.ours, events, [ours], [poison])


async def test_nothing_but_poison(both: Twins) -> None:
    """Plain Faust drops all of it; ours ends at the limit, goes on from there, and buries each only once."""
    limit = ShareLimits().deadletters
    poison = [Event(str(number), fail="invalid") for number in range(limit + 8)]
    for place in (both.plain, both.ours):
        await place.produce(poison)
    async with (
        started(both.plain, form="batch"),
        running(both.ours.spec(form="batch", instance_id="one")) as ours,
    ):
        assert await ours.ended() == EXIT_FAILED
        await both.plain.all_committed()
    assert sorted(await both.ours.dead_letters(), key=int) == [str(number) for number in range(limit)]
    async with started(both.ours, form="batch", instance_id="one") as second:
        await both.ours.all_committed()
        await second.terminate()
    await assert_nothing_lost(both.ours, poison, [second], poison)
    assert (await both.plain.effects(), await both.plain.dead_letters()) == (set(), [])


async def killed_over_a_slow_head(place: Scene) -> None:
    """The head is in work, all behind it is done, the worker dies."""
    await place.produce(with_event(Event("0", held=True)))
    async with started(place, form="jobs", instance_id="one") as first:
        await place.done(*IDS - {"0"})
        if place.flavour == "plain":
            await place.all_committed()
        else:
            await asyncio.sleep(COMMIT_S)
        await first.kill()
    await place.open_gate()


async def test_kill_9_with_parallel_jobs_that_end_out_of_order(both: Twins) -> None:
    """Plain Faust has committed past the job in flight; ours has committed nothing behind it."""
    await asyncio.gather(killed_over_a_slow_head(both.plain), killed_over_a_slow_head(both.ours))
    async with started(both.ours, form="jobs", instance_id="one") as second:
        await both.ours.all_committed()
        await second.terminate()
    assert await both.plain.lag() == 0
    assert "0" not in await both.plain.effects()
    await assert_nothing_lost(both.ours, QUICK, [second])


async def test_kill_9_behind_a_committed_record(both: Twins) -> None:
    """The same when the group has a committed offset: ours stops right before the open record."""
    for place in (both.plain, both.ours):
        await place.produce([Event("before")])
    async with started(both.plain, form="jobs") as plain, started(both.ours, form="jobs") as ours:
        await asyncio.gather(both.plain.all_committed(), both.ours.all_committed())
        await asyncio.gather(plain.terminate(), ours.terminate())
    await asyncio.gather(killed_over_a_slow_head(both.plain), killed_over_a_slow_head(both.ours))
    assert (await both.plain.lag(), await both.ours.lag()) == (0, len(QUICK))
    assert "0" not in await both.plain.effects()
    async with started(both.ours, form="jobs", instance_id="one") as second:
        await both.ours.all_committed()
        await second.terminate()
    await assert_nothing_lost(both.ours, [Event("before"), *QUICK], [ours, second])


LONG_SESSION = {"broker_session_timeout": 60, "broker_heartbeat_interval": 3}


async def killed_in_flight(place: Scene) -> None:
    await place.produce([Event("slow", held=True)])
    async with started(place, instance_id="one", faust=LONG_SESSION) as first:
        await first.said("began slow")
        await first.kill()
    await place.open_gate()


async def test_kill_9_with_an_event_in_flight(both: Twins) -> None:
    """Plain Faust's partition stands still until the session of the dead has ended; ours goes on at once."""
    await asyncio.gather(killed_in_flight(both.plain), killed_in_flight(both.ours))
    async with (
        running(both.plain.spec(faust=LONG_SESSION)) as plain,
        started(both.ours, instance_id="one") as ours,
    ):
        await both.ours.all_committed()
        assert "began slow" not in plain.lines
        await ours.terminate()
    await assert_nothing_lost(both.ours, [Event("slow")], [ours])


async def stopped_in_work(place: Scene, form: Form, faust: dict[str, object]) -> Worker:
    """Told to stop while the fourth event is in work, which ends only afterwards."""
    await place.produce(with_event(Event("3", held=True)))
    async with started(place, form=form, faust=faust) as worker:
        await worker.said("began 3")
        await worker.terminate()
    await place.open_gate()
    return worker


async def finished_by_another(place: Scene, form: Form) -> Worker:
    async with started(place, form=form) as worker:
        await place.done("7")
        await place.all_committed()
        await worker.terminate()
    return worker


@pytest.mark.parametrize("form", ["single", "batch", "jobs"])
async def test_a_graceful_stop_in_the_middle_of_work(both: Twins, form: Form) -> None:
    """Not waiting for streams, plain Faust cancels the work and commits it; ours leaves it to the next."""
    _plain, first = await asyncio.gather(
        stopped_in_work(both.plain, form, {"stream_wait_empty": False}),
        stopped_in_work(both.ours, form, {}),
    )
    _plain, second = await asyncio.gather(
        finished_by_another(both.plain, form), finished_by_another(both.ours, form)
    )
    assert "3" not in await both.plain.effects()
    await assert_nothing_lost(both.ours, QUICK, [first, second])


async def test_a_graceful_stop_does_not_wait_for_ever(both: Twins) -> None:
    """By default plain Faust waits for the work, however long that takes; ours has a deadline."""
    plain, ours = await asyncio.gather(
        stopped_in_work(both.plain, "single", {}), stopped_in_work(both.ours, "single", {})
    )
    assert (plain.ending, ours.ending) == ("hung", 0)


async def test_a_group_that_is_told_to_stop_before_it_has_begun(both: Twins) -> None:
    """Ours ends at once while it still joins; plain Faust is not compared."""
    async with running(both.ours.spec()) as worker:
        await eventually(lambda: said_anything(worker))
        assert await worker.terminate() == 0


async def said_anything(worker: Worker) -> bool:
    return bool(worker.lines)
