"""The broker goes away: plain Faust beside the harness.

Each test puts both to the same fault at the same time, on real servers.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from runtime.process import EXIT_DRAIN_DEADLINE
from tests.support.harness.run import Worker
from tests.support.harness.sides import Side, batch_of, end, sides
from tests.support.outage import FrailBroker, frail_broker
from tests.support.stack import Databases

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def frail() -> Iterator[FrailBroker]:
    with frail_broker() as broker:
        yield broker


@contextmanager
def killed(broker: FrailBroker) -> Iterator[None]:
    broker.kill()
    yield
    broker.start()


@pytest.mark.parametrize("away", [killed, FrailBroker.frozen], ids=["killed", "frozen"])
async def test_a_stop_while_the_broker_is_away(
    frail: FrailBroker, databases: Databases, away: Callable[[FrailBroker], AbstractContextManager[None]]
) -> None:
    """Plain's stop hangs beyond its deadline; ours leaves in time, and the next worker finishes."""
    async with sides(frail.bootstrap, databases) as both:
        first = await start_both(both)
        await offer_work(both, first)
        with away(frail):
            plain_ending, our_ending = await end(first)
        assert plain_ending == "hung"
        # by its deadline, if there was something left to tell the broker
        assert our_ending in {0, EXIT_DRAIN_DEADLINE}
        ours = both[1]
        second = await ours.start(instance_id="only")
        await ours.flow(second, batch_of("after", 5))
        await ours.place.all_committed()
        assert await second.terminate() == 0
        await ours.nothing_lost()


async def test_a_broker_restarted_under_running_workers(frail: FrailBroker, databases: Databases) -> None:
    """With all connections gone both go on by themselves and lose nothing: plain Faust is good at this."""
    async with sides(frail.bootstrap, databases) as both:
        first = await start_both(both)
        await offer_work(both, first)
        frail.kill()
        frail.start()
        await flow_both(both, first, "after")
        assert await end(first) == [0, 0]
        assert await both[0].lost() == set()
        await both[1].nothing_lost()


async def start_both(both: tuple[Side, Side]) -> list[Worker]:
    return await asyncio.gather(*(side.start(instance_id="only") for side in both))


async def flow_both(both: tuple[Side, Side], workers: list[Worker], name: str) -> None:
    flows = zip(both, workers, strict=True)
    await asyncio.gather(*(side.flow(worker, batch_of(name, 5)) for side, worker in flows))
    await asyncio.gather(*(side.place.all_committed() for side in both))


async def offer_work(both: tuple[Side, Side], workers: list[Worker]) -> None:
    """Returns in the middle of it."""
    await flow_both(both, workers, "before")
    for side in both:
        await side.feed.offer_all(batch_of("during", 40, 0.1))
        await side.feed.accepted()
    await asyncio.gather(*(worker.said("done during1") for worker in workers))
