"""The database goes away, a producer's end, a slow neighbour: plain Faust beside the harness.

Each test puts both to the same fault at the same time, on real servers.
"""

import asyncio
import os

import msgspec
import pytest

from runtime.process import EXIT_FAILED
from tests.support.broker import committed, make_topics, produce, read_all
from tests.support.harness import publishing, two_roles
from tests.support.harness.publishing import output_of
from tests.support.harness.run import Worker
from tests.support.harness.sides import Side, batch_of, end, sides
from tests.support.harness.spec import Event
from tests.support.harness.two_roles import quick_of
from tests.support.proxy import cut_proxy
from tests.support.stack import Databases
from tests.support.waiting import eventually

SOAK = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
OUTAGE_S = 20 if SOAK else 5

SMALL_BUFFER = 4
PASSED_OVER_S = 2

pytestmark = pytest.mark.timeout(150)


async def test_postgres_away_with_a_stop_in_the_middle(kafka_bootstrap: str, databases: Databases) -> None:
    """Plain commits what failed meanwhile and loses it; ours keeps it for the next worker."""
    async with sides(kafka_bootstrap, databases) as (plain, ours):
        await asyncio.gather(postgres_outage(plain), postgres_outage(ours))
        assert await plain.lost() >= {"during0"}
        await ours.nothing_lost()
        assert [worker.ending for worker in ours.workers] == [0, 0]


async def postgres_outage(side: Side) -> None:
    async with cut_proxy(side.place.database_url) as (proxy, side.database_url):
        first = await side.start()
        await side.flow(first, batch_of("before", 10))
        proxy.cut()
        await side.feed.offer_all(batch_of("during", 10))
        await first.said("failed during0")
        await asyncio.sleep(OUTAGE_S / 2)
        await first.terminate()
        await asyncio.sleep(OUTAGE_S / 2)
        proxy.restore()
        second = await side.start()
        await side.flow(second, batch_of("after", 5))
        await side.place.all_committed()
        await second.terminate()


async def test_a_producer_in_a_fatal_state(kafka_bootstrap: str, databases: Databases) -> None:
    """Plain logs the refusals, commits and loses; ours ends, nothing acknowledged, and the next does all."""
    async with sides(kafka_bootstrap, databases) as (plain, ours):
        await asyncio.gather(break_producer(plain), break_producer(ours))
        assert await outputs_of(plain) < await accepted_ids(plain)
        assert await plain.place.lag() == 0
        assert ours.workers[0].ending == EXIT_FAILED
        assert await outputs_of(ours) == await accepted_ids(ours)
        assert await ours.place.lag() == 0
        assert ours.workers[1].ending == 0


async def break_producer(side: Side) -> None:
    place = side.place
    await make_topics(place.bootstrap, **{output_of(place.topic): 1})
    breaking = await side.start(publishing.__name__, name="breaking")
    await side.feed.offer_all(batch_of("before", 3))
    await eventually(lambda: has_committed(side, 3))
    await side.feed.offer_all([Event("fault"), *batch_of("after", 5)])
    if place.flavour == "ours":
        assert await breaking.ended() == 1
        assert await has_committed(side, 3)
    else:
        await place.all_committed()
        await breaking.terminate()
    mended = await side.start(publishing.__name__, name="mended")
    await side.feed.offer_all(batch_of("mended", 3))
    await place.all_committed()
    await mended.terminate()


async def test_a_slow_agent_does_not_block_another_role(kafka_bootstrap: str, databases: Databases) -> None:
    """Two plain agents share one app, whose drain waits for the held one; ours are two apps, one per role.

    Nothing is lost here: what is compared is whether the quick event is done while the others are held.
    """
    async with sides(kafka_bootstrap, databases) as (plain, ours):
        quick_plain, quick_ours = await asyncio.gather(quick_behind_held(plain), quick_behind_held(ours))
        await quick_ours.said("done quick")
        await asyncio.sleep(PASSED_OVER_S)
        assert quick_plain.ids("done") == []
        for side in (plain, ours):
            await side.place.open_gate()
            await side.place.all_committed()
        await quick_plain.said("done quick")
        await end([worker for side in (plain, ours) for worker in side.workers])
        assert await ours.place.effects() == await accepted_ids(ours) | {"quick"}
        assert [worker.ending for worker in ours.workers] == [0, 0]


async def quick_behind_held(side: Side) -> Worker:
    """Its process, after a quick event was sent to it while a buffer and more of the other topic are held."""
    quick_topic = quick_of(side.place.topic)
    await make_topics(side.place.bootstrap, **{quick_topic: 1})
    if side.place.flavour == "plain":
        held = quick = await side.start(two_roles.__name__, faust={"stream_buffer_maxsize": SMALL_BUFFER})
    else:
        spec = side.spec(name="quick")
        held = await side.start(name="held")
        quick = await side.run(msgspec.structs.replace(spec, topic=quick_topic, group=f"{spec.group}-quick"))
    await side.feed.offer_all([Event(f"held{number}", held=True) for number in range(3 * SMALL_BUFFER)])
    await held.said("began held0")
    # what was fetched with the quick event would be drained by turns with it
    await asyncio.sleep(PASSED_OVER_S)
    await produce(side.place.bootstrap, quick_topic, [Event("quick").encode()])
    return quick


async def has_committed(side: Side, offset: int) -> bool:
    place = side.place
    return await committed(place.bootstrap, place.group, place.topic) == offset


async def accepted_ids(side: Side) -> set[str]:
    return {event.id for event in await side.feed.accepted()}


async def outputs_of(side: Side) -> set[str]:
    records = await read_all(side.place.bootstrap, output_of(side.place.topic))
    return {msgspec.json.decode(record.value, type=Event).id for record in records}
