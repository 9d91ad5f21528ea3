"""What becomes of work while the group changes, on real parts: plain Faust beside the harness."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.harness.run import Scene, Twins, Worker, assert_nothing_lost, running, started, twins
from tests.support.harness.spec import Event
from tests.support.harness.worker import SESSION_TIMEOUT_S
from tests.support.stack import Databases
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

SLOW = Event("slow", held=True)
QUICK = [Event(f"quick-{number}") for number in range(6)]
QUICK_IDS = {event.id for event in QUICK}
HEARTBEATS_S = 3.0
"""Several heartbeats of plain Faust: its member knows that the group rebalances."""

COMMIT_S = 1.5
"""Three commit intervals of ours: what it would commit, it has."""


@pytest.fixture
async def both(kafka_bootstrap: str, databases: Databases) -> AsyncIterator[Twins]:
    async with twins(kafka_bootstrap, databases, 2) as both:
        yield both


async def joined(place: Scene, second: Worker) -> None:
    """The second is in the group, or as far in as the first lets it come."""
    if place.flavour == "ours":
        await second.said("started")
        return

    async def rebalancing() -> bool:
        return (await place.state())[0] == "PreparingRebalance"

    await eventually(rebalancing)
    await asyncio.sleep(HEARTBEATS_S)


async def test_a_worker_joins_while_a_job_runs(both: Twins) -> None:
    """Plain Faust's whole group stands still until the job has ended; ours goes on, and all is done once."""
    places = (both.plain, both.ours)
    async with started(both.plain, form="jobs") as plain_first, started(both.ours, form="jobs") as first:
        for place in places:
            await place.produce([SLOW])
        await asyncio.gather(plain_first.said("began slow"), first.said("began slow"))
        async with (
            running(both.plain.spec(form="jobs")) as other,
            running(both.ours.spec(form="jobs")) as second,
        ):
            await asyncio.gather(joined(both.plain, other), joined(both.ours, second))
            for place in places:
                await place.produce(QUICK[:3], 0)
                await place.produce(QUICK[3:], 1)
            await both.ours.done(*QUICK_IDS)
            assert await both.plain.effects() == set()
            await both.ours.open_gate()
            await both.ours.all_committed()
            await asyncio.gather(first.terminate(), second.terminate())
    await assert_nothing_lost(both.ours, [SLOW, *QUICK], [first, second])


async def left_during_a_job(place: Scene, *, killed: bool) -> list[Worker]:
    """Of two workers with parallel jobs the one with the slow head leaves or dies. Returns who drained."""
    options = {"form": "jobs", "faust": {"stream_wait_empty": False}}
    async with (
        started(place, instance_id="first", **options) as first,
        started(place, instance_id="second", **options) as second,
    ):
        await place.is_stable(2)
        await place.produce([SLOW, *QUICK])
        await place.done(*QUICK_IDS)
        busy, other = (first, second) if "began slow" in first.lines else (second, first)
        if place.flavour == "plain":
            await place.all_committed()
        else:
            await asyncio.sleep(COMMIT_S)
        await (busy.kill() if killed else busy.terminate())
        await place.open_gate()
        if place.flavour == "ours":
            await place.done("slow")
            await place.all_committed()
        await other.terminate()
    return [other] if killed else [busy, other]


@pytest.mark.parametrize("killed", [False, True], ids=["leaves", "is killed"])
async def test_a_worker_is_gone_while_its_job_runs(both: Twins, *, killed: bool) -> None:
    """Plain Faust has committed past the job; with ours the other worker does it."""
    _plain, workers = await asyncio.gather(
        left_during_a_job(both.plain, killed=killed), left_during_a_job(both.ours, killed=killed)
    )
    assert "slow" not in await both.plain.effects()
    assert await both.plain.lag() == 0
    await assert_nothing_lost(both.ours, [SLOW, *QUICK], workers)


async def owner_left(place: Scene, owner: Worker, idle: Worker) -> Worker:
    """The only partition's owner leaves, and something arrives. Returns the other."""
    await place.produce([Event("whose")])
    await place.done("whose")
    busy, other = (owner, idle) if "done whose" in owner.lines else (idle, owner)
    await busy.terminate()
    await place.produce([Event("after")])
    return other


async def test_an_idle_worker_takes_over(kafka_bootstrap: str, databases: Databases) -> None:
    """Plain Faust's idle member is thrown out after the poll interval and never comes back; ours waits."""
    poll_interval_s = 4.0
    faust = {"broker_max_poll_interval": poll_interval_s}
    async with (
        twins(kafka_bootstrap, databases) as both,
        started(both.plain, faust=faust) as plain_owner,
        started(both.ours) as owner,
        started(both.plain, faust=faust) as plain_idle,
        started(both.ours) as idle,
    ):
        await asyncio.sleep(poll_interval_s + 4)
        plain_other, other = await asyncio.gather(
            owner_left(both.plain, plain_owner, plain_idle), owner_left(both.ours, owner, idle)
        )
        await both.ours.done("after")
        await both.ours.all_committed()
        await other.terminate()
        # by now the coordinator has given up whoever left without a word
        await asyncio.sleep(SESSION_TIMEOUT_S + 2)
        assert await both.plain.effects() == {"whose"}
        assert plain_other.process.returncode is None
        await assert_nothing_lost(both.ours, [Event("whose"), Event("after")], [owner, idle])
