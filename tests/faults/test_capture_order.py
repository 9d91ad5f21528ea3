"""Who waits for whom, on real browsers: premium for nobody, a user not for another's backlog."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from deploy.local.chart.strip import decode
from schemas.plans import Plan
from schemas.records import CaptureEventKind, CaptureRequest
from tests.support.capture_group import PARTITIONS, CaptureGroup, CaptureServers, capture_servers, open_group
from tests.support.capture_parts import signed_in
from tests.support.capture_timeline import Renders, Visits, watched_sites
from tests.support.stack import Databases
from tests.support.waiting import eventually

SOAK: Final = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
WORKERS: Final = 2
SLOTS: Final = 3
FREE_USERS: Final = 100 if SOAK else PARTITIONS
CHARTS: Final = 300 if SOAK else 40
PREMIUM: Final = 10 if SOAK else 4
LOADING_MS: Final = 300

Report = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(1800 if SOAK else 300)


@pytest.fixture(scope="module")
def servers(databases: Databases) -> Iterator[CaptureServers]:
    with capture_servers(databases) as servers:
        yield servers


@pytest.fixture
async def group(servers: CaptureServers, tmp_path: Path) -> AsyncIterator[CaptureGroup]:
    async with open_group(servers, tmp_path) as group:
        yield group


async def test_a_premium_picture_passes_a_backlog_of_free_ones(
    group: CaptureGroup, browser_path: Path, record_property: Report
) -> None:
    """Wherever it comes in: it begins before its worker has begun more free ones than it has slots.

    That is within the time of one render. The free ones lie in all the partitions of both workers.
    """
    async with watched_sites(WORKERS, LOADING_MS) as visits:
        await start(group, browser_path, visits)
        free = [await member(group, Plan.FREE, number % PARTITIONS) for number in range(FREE_USERS)]
        backlog = [
            group.request(user, Plan.FREE, f"FREE:U{u}N{n}") for n in (1, 2) for u, user in enumerate(free)
        ]
        await group.ask(*backlog)
        await until_opened_by_all(visits, SLOTS)
        premium = []
        for number in range(PREMIUM):
            # beside a free one that this worker has, since a worker has the same partitions of every plan
            neighbour = visits.opened_by(number % WORKERS)[0]
            partition = group.partition(next(one.user_id for one in backlog if one.ticker == neighbour))
            user = await member(group, Plan.PREMIUM, partition)
            premium.append(group.request(user, Plan.PREMIUM, f"PREMIUM:N{number}"))
            await group.ask(premium[-1])
            await visits.until_opened(premium[-1].ticker)
        renders = await completed(group, [*backlog, *premium])
    report(record_property, renders, premium)
    partitions = {one.ticker: group.partition(one.user_id) for one in backlog}
    for worker in range(WORKERS):
        opened = visits.opened_by(worker)
        assert len({partitions[ticker] for ticker in opened if ticker in partitions}) >= PARTITIONS / WORKERS
        for request in premium[worker::WORKERS]:
            assert request.ticker in opened
            assert len(renders.passing(request).intersection(opened)) <= SLOTS


@pytest.mark.parametrize("slots", [1, SLOTS] if SOAK else [1])
async def test_a_user_passes_the_backlog_of_another(
    group: CaptureGroup, browser_path: Path, record_property: Report, slots: int
) -> None:
    """Of the same plan and partition: after no more than two of the other's pictures."""
    async with watched_sites(1, LOADING_MS) as visits:
        await start(group, browser_path, visits, CAPTURE_SLOTS=str(slots))
        ana = await member(group, Plan.PRO, 0)
        backlog = [group.request(ana, Plan.PRO, f"ANA:N{number}") for number in range(CHARTS)]
        await group.ask(*backlog)
        await visits.until_opened("ANA:N0")
        requests = []
        for number in range(3):
            bob = await member(group, Plan.PRO, 0)
            requests.append(group.request(bob, Plan.PRO, f"BOB:N{number}"))
            await group.ask(requests[-1])
            await visits.until_opened(requests[-1].ticker)
        renders = await completed(group, [*backlog, *requests])
    report(record_property, renders, requests)
    for request in requests:
        assert len(renders.passing(request)) <= 2


async def start(group: CaptureGroup, browser: Path, visits: Visits, **changes: str) -> None:
    workers = [group.place.browser_worker(origin, browser, **changes) for origin in visits.origins]
    for worker in workers:
        worker.start()
    for worker in workers:
        await asyncio.to_thread(worker.until_ready)


async def member(group: CaptureGroup, plan: Plan, partition: int) -> UUID:
    """A user of one partition, signed in at the look-alikes."""
    user_id = await group.user(plan, partition=partition)
    await group.sign_in(user_id, signed_in(str(user_id)))
    return user_id


async def until_opened_by_all(visits: Visits, count: int) -> None:
    async def opened() -> bool:
        return all(len(visits.opened_by(worker)) >= count for worker in range(WORKERS))

    await eventually(opened)


async def completed(group: CaptureGroup, requests: Sequence[CaptureRequest]) -> Renders:
    """Once each has its picture, which shows its own chart."""
    for stored in range(len(requests) + 1):
        await until_stored(group, stored)
    ends = await group.ends(requests)
    shown = {}
    for end in ends:
        assert (end.kind, end.tries) == (CaptureEventKind.COMPLETED, 1)
        assert end.picture is not None
        content = decode((group.place.folder / "pictures" / end.picture.key).read_bytes())
        shown[end.signal_ids[0]] = (content.symbol, content.user)
    assert shown == {one.signal_id: (one.ticker, str(one.user_id)) for one in requests}
    return Renders(requests, await group.events(requests))


async def until_stored(group: CaptureGroup, count: int) -> None:
    async def stored() -> bool:
        return len(list(group.place.folder.glob("pictures/**/*.png"))) >= count

    await eventually(stored)


def report(record_property: Report, renders: Renders, requests: Sequence[CaptureRequest]) -> None:
    record_property("render_s", renders.duration_s)
    record_property("waits_s", [renders.wait_s(request) for request in requests])
    record_property("passing", [len(renders.passing(request)) for request in requests])
