"""What becomes of work while the group changes, on real parts: plain Faust beside the harness."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.support.harness.run import Scene, Worker, assert_nothing_lost, running, scene
from tests.support.harness.spec import Event
from tests.support.stack import Databases

pytestmark = pytest.mark.timeout(120)

SLOW = Event("slow", sleep_s=9)
SHORT = {"broker_heartbeat_interval": 1, "broker_session_timeout": 6}


@asynccontextmanager
async def two_scenes(bootstrap: str, databases: Databases) -> AsyncIterator[tuple[Scene, Scene]]:
    async with (
        scene("plain", bootstrap, databases, 2) as plain,
        scene("ours", bootstrap, databases, 2) as ours,
    ):
        yield plain, ours


async def joined_during_a_job(place: Scene) -> tuple[list[Worker], bool]:
    """A second worker joins while the first is busy; then events arrive in all partitions.

    Also returns whether they were done while the slow one was still in work.
    """
    quick = [Event(f"quick-{number}") for number in range(4)]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(place.spec(name="first", faust=SHORT)))
        await first.said("started")
        await place.produce([SLOW])
        await first.said("began slow")
        second = await stack.enter_async_context(running(place.spec(name="second", faust=SHORT)))
        # by now it has asked to join, and the first one's heartbeat has told it so
        await asyncio.sleep(5)
        await place.produce(quick, partition=1)
        steps = await until_done(place, {event.id for event in [SLOW, *quick]})
        await place.all_committed()
        await asyncio.gather(first.terminate(), second.terminate())
    done = [event_id for event_id, _worker, step in steps if step == "done"]
    return [first, second], done[0].startswith("quick")


async def until_done(place: Scene, ids: set[str]) -> list[tuple[str, str, str]]:
    async with asyncio.timeout(60):
        while not ids <= await place.effects():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.1)
    return await place.deliveries()


async def test_a_worker_joins_while_a_job_runs(kafka_bootstrap: str, databases: Databases) -> None:
    """Plain Faust's group stands still until the job has ended; ours goes on at once, all done once."""
    async with two_scenes(kafka_bootstrap, databases) as (plain, ours):
        (_, plain_went_on), (workers, ours_went_on) = await asyncio.gather(
            joined_during_a_job(plain), joined_during_a_job(ours)
        )
        assert (plain_went_on, ours_went_on) == (False, True)
        quick = [Event(f"quick-{number}") for number in range(4)]
        await assert_nothing_lost(ours, [SLOW, *quick], workers)


async def left_during_a_job(place: Scene, *, killed: bool) -> list[Worker]:
    """Of two workers with parallel jobs the one that holds the slow head leaves or dies."""
    slow, quick = Event("slow", sleep_s=6), [Event(f"quick-{number}") for number in range(6)]
    faust = {**SHORT, "stream_wait_empty": False}
    async with (
        running(place.spec(name="first", form="jobs", faust=faust, instance_id="first")) as first,
        running(place.spec(name="second", form="jobs", faust=faust, instance_id="second")) as second,
    ):
        await asyncio.gather(first.said("started"), second.said("started"))
        await asyncio.sleep(3)
        await place.produce([slow, *quick])
        await until_done(place, {event.id for event in quick})
        await asyncio.sleep(2)
        busy, other = (first, second) if "began slow" in first.lines else (second, first)
        await (busy.kill() if killed else busy.terminate())
        if place.flavour == "ours":
            await until_done(place, {"slow"})
            await place.all_committed()
        else:
            await asyncio.sleep(12)
        await other.terminate()
    return [other] if killed else [busy, other]


@pytest.mark.parametrize("killed", [False, True], ids=["leaves", "is killed"])
async def test_a_worker_is_gone_while_its_job_runs(
    kafka_bootstrap: str, databases: Databases, *, killed: bool
) -> None:
    """Plain Faust has committed past the job; with ours the other worker does it."""
    async with two_scenes(kafka_bootstrap, databases) as (plain, ours):
        _plain, workers = await asyncio.gather(
            left_during_a_job(plain, killed=killed), left_during_a_job(ours, killed=killed)
        )
        assert "slow" not in await plain.effects()
        assert await plain.lag() == 0
        quick = [Event(f"quick-{number}") for number in range(6)]
        await assert_nothing_lost(ours, [Event("slow"), *quick], workers)


async def taken_over(place: Scene, poll_interval_s: float) -> list[Worker]:
    """The only partition's owner leaves after the other has been idle for longer than the poll interval."""
    faust = {**SHORT, "broker_max_poll_interval": poll_interval_s}
    async with running(place.spec(name="owner", faust=faust)) as owner:
        await owner.said("started")
        async with running(place.spec(name="idle", faust=faust)) as idle:
            await idle.said("started")
            await asyncio.sleep(poll_interval_s + 5)
            # whoever owns the partition says so
            await place.produce([Event("whose")])
            await until_done(place, {"whose"})
            busy, other = (owner, idle) if "done whose" in owner.lines else (idle, owner)
            await busy.terminate()
            await place.produce([Event("after")])
            if place.flavour == "ours":
                await other.said("done after")
                await place.all_committed()
            else:
                with pytest.raises(AssertionError, match="not said"):
                    await other.said("done after", within_s=15)
            await other.terminate()
    return [owner, idle]


async def test_an_idle_worker_takes_over(kafka_bootstrap: str, databases: Databases) -> None:
    """Plain Faust's idle member is thrown out after the poll interval and never comes back; ours waits."""
    async with (
        scene("plain", kafka_bootstrap, databases) as plain,
        scene("ours", kafka_bootstrap, databases) as ours,
    ):
        _plain, workers = await asyncio.gather(taken_over(plain, 4), taken_over(ours, 4))
        assert await plain.effects() == {"whose"}
        await assert_nothing_lost(ours, [Event("whose"), Event("after")], workers)
