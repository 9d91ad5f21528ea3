"""A long bad day, drawn from a seed: workers and servers fail while events flow, and nothing may be lost."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest

from tests.support.harness.arena import Arena, Slot, arena
from tests.support.harness.history import violations
from tests.support.harness.schedule import Fault, Schedule, draw_events, draw_schedule
from tests.support.harness.worker import SESSION_TIMEOUT_S
from tests.support.outage import FrailBroker, frail_broker
from tests.support.proxy import CutProxy, cut_proxy
from tests.support.stack import Databases

SOAK = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
SEED = int(os.environ.get("HARNESS_SEED", "0")) or Random().randrange(1, 10**9)  # noqa: TID251 - to repeat a run
EVENTS = 20_000 if SOAK else 1_500
FLOW_S = 150 if SOAK else 22
ROUNDS = 8 if SOAK else 1

# the broker gives a member up after its session
LONG_PAUSE_S = SESSION_TIMEOUT_S + 2.0


@pytest.fixture
def frail() -> Iterator[FrailBroker]:
    with frail_broker() as broker:
        yield broker


class Campaign:
    """Two groups, batches and parallel jobs, on one broker and one database server."""

    def __init__(self, arenas: Sequence[Arena], broker: FrailBroker, database: CutProxy) -> None:
        self._arenas = arenas
        self._broker = broker
        self._database = database
        self._victims = [
            place.enter(f"{place.form}-{number}", f"{place.form}-{number}")
            for place in arenas
            for number in range(2)
        ]

    async def run(self, random: Random, schedule: Schedule) -> None:
        """Returns when all events are accepted and all faults are over."""
        feeds = [self._feed(place, random) for place in self._arenas]
        await asyncio.gather(
            *feeds,
            self._hurt_workers(schedule.workers),
            self._hurt_servers(schedule.servers),
            self._oversleep(),
        )

    async def _feed(self, place: Arena, random: Random) -> None:
        events = draw_events(random, EVENTS // len(self._arenas), place.form)
        await place.feed.offer_all(events, FLOW_S / len(events))
        await place.feed.accepted()

    async def _hurt_workers(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            await asyncio.sleep(fault.wait_s)
            victim = self._victims[fault.victim % len(self._victims)]
            match fault.kind:
                case "kill":
                    victim.kill()
                case "terminate":
                    await victim.terminate()
                case "pause":
                    await victim.pause(fault.length_s)
                case _:
                    guest = self._arenas[fault.victim % len(self._arenas)].enter("guest")
                    await guest.started()
                    await asyncio.sleep(fault.length_s)
                    await guest.leave()

    async def _hurt_servers(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            await asyncio.sleep(fault.wait_s)
            match fault.kind:
                case "cut database":
                    self._database.cut()
                    await asyncio.sleep(fault.length_s)
                    self._database.restore()
                case "freeze broker":
                    with self._broker.frozen():
                        await asyncio.sleep(fault.length_s)
                case _:
                    self._broker.kill()
                    await asyncio.sleep(fault.length_s / 2)
                    self._broker.start()

    async def _oversleep(self) -> None:
        """A member that the broker has given up comes back, and thinks it still owns its partitions."""
        sleeper = self._arenas[0].enter("sleeper")
        await sleeper.started()
        await sleeper.pause(LONG_PAUSE_S)


@asynccontextmanager
async def campaign(
    broker: FrailBroker, databases: Databases
) -> AsyncIterator[tuple[Campaign, Sequence[Arena]]]:
    async with (
        arena("batch", broker.bootstrap, databases) as batches,
        arena("jobs", broker.bootstrap, databases) as jobs,
        cut_proxy(batches.database_url) as (proxy, url),
    ):
        through_proxy = url.rpartition("/")[0]
        for place in (batches, jobs):
            place.database_url = f"{through_proxy}/{place.database_url.rpartition('/')[2]}"
        yield Campaign([batches, jobs], broker, proxy), [batches, jobs]


@pytest.mark.timeout(600)
async def test_a_bad_day_loses_nothing(frail: FrailBroker, databases: Databases) -> None:
    """Whatever dies, freezes, joins or leaves: once it is calm, every event has exactly one outcome."""
    random = Random(SEED)
    schedule = draw_schedule(random, ROUNDS)
    print(f"HARNESS_SEED={SEED}\n{schedule}")  # noqa: T201 - shown when the test fails
    async with campaign(frail, databases) as (bad_day, arenas):
        await bad_day.run(random, schedule)
        for place in arenas:
            await calm(place)
        await asyncio.gather(*(place.leave() for place in arenas))
        histories = [await place.history() for place in arenas]
    print(endings([slot for place in arenas for slot in place.slots]))  # noqa: T201 - likewise
    for history in histories:
        assert violations(history) == []


async def calm(place: Arena) -> None:
    try:
        await place.place.all_committed()
    except TimeoutError:
        stories = [f"{slot.spec.name}\n{slot.story()}" for slot in place.slots]
        pytest.fail(f"seed {SEED}: lag {await place.place.lag()}\n" + "\n".join(stories))


def endings(slots: Sequence[Slot]) -> str:
    return "\n".join(ending(slot) for slot in slots)


def ending(slot: Slot) -> str:
    """How each process here ended, and where one that hung was."""
    codes = [ended.ending for ended in slot.endings]
    stuck = [slot.story(200, number) for number, code in enumerate(codes) if code == "hung"]
    return "\n".join([f"{slot.spec.name}: {codes}", *stuck])
