"""Workers of one group on a real broker and database: accounts, tries, priority and fairness between them."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from schemas.plans import Plan
from schemas.records import CaptureEventKind
from tests.support.capture_group import (
    PARTITIONS,
    CaptureGroup,
    CaptureServers,
    PageLine,
    capture_servers,
    open_group,
)
from tests.support.role_process import RoleProcess
from tests.support.stack import Databases
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)

SLOTS = 3


@pytest.fixture(scope="module")
def servers(databases: Databases) -> Iterator[CaptureServers]:
    with capture_servers(databases) as servers:
        yield servers


@pytest.fixture
async def group(servers: CaptureServers, tmp_path: Path) -> AsyncIterator[CaptureGroup]:
    async with open_group(servers, tmp_path) as group:
        group.place.render_s(0)
        yield group


async def start(group: CaptureGroup, count: int, **changes: str) -> list[RoleProcess]:
    workers = [group.place.worker(**changes) for _worker in range(count)]
    for worker in workers:
        await asyncio.to_thread(worker.until_ready)
    return workers


async def until_waiting(group: CaptureGroup, plan: Plan, count: int) -> None:
    async def reached() -> bool:
        return await group.place.waiting(plan) == count

    await eventually(reached)


async def until_open(group: CaptureGroup, count: int) -> None:
    async def reached() -> bool:
        words = Counter(line.word for line in group.place.pages())
        return words["open"] - words["close"] == count

    await eventually(reached)


def pid_of(worker: RoleProcess) -> int:
    assert worker.process is not None
    return worker.process.pid


def between(pages: list[PageLine], first: str, last_ticker: str) -> list[PageLine]:
    """What was opened after a mark and before the first page of a ticker."""
    begin = next(number for number, line in enumerate(pages) if line.word == first)
    end = next(
        number for number, line in enumerate(pages) if (line.word, line.ticker) == ("open", last_ticker)
    )
    return [line for line in pages[begin:end] if line.word == "open"]


async def test_users_who_share_an_account_share_its_lease(group: CaptureGroup) -> None:
    """Whichever workers serve them, there is never a second page of the account."""
    group.place.render_s(0.1)
    users = [await group.user(account="shared") for _user in range(8)]
    await start(group, 2)
    requests = [group.request(user, Plan.PRO, f"S{n}U{u}") for u, user in enumerate(users) for n in range(3)]
    await group.ask(*requests)
    ends = await group.ends(requests)
    assert {(end.kind, end.tries) for end in ends} == {(CaptureEventKind.COMPLETED, 1)}
    pages = group.place.pages()
    assert [line.word for line in pages] == ["open", "close"] * len(requests)
    assert all(opened.pid == closed.pid for opened, closed in zip(pages[::2], pages[1::2], strict=True))
    assert len({line.pid for line in pages}) == 2


async def test_a_killed_workers_try_is_counted(group: CaptureGroup) -> None:
    """The other one goes on with the count that was stored before the page was opened."""
    group.place.render_s(600)
    user = await group.user()
    workers = await start(group, 2)
    request = group.request(user, Plan.PRO, "KILLED")
    await group.ask(request)
    pid = (await group.opened("KILLED")).pid
    group.place.lose(next(worker for worker in workers if pid_of(worker) == pid))
    assert (await group.opened("KILLED", 2)).pid != pid
    group.place.render_s(0)
    [end] = await group.ends([request])
    assert (end.kind, end.tries) == (CaptureEventKind.COMPLETED, 2)


async def test_a_frozen_worker_tells_nothing_of_its_page(group: CaptureGroup) -> None:
    """Its account has gone to another one, whose outcome stands; awake again, it finds that one's picture."""
    group.place.render_s(600)
    user = await group.user()
    await start(group, 2)
    request = group.request(user, Plan.PRO, "FROZEN")
    await group.ask(request)
    pid = (await group.opened("FROZEN")).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await group.opened("FROZEN", 2)
        group.place.render_s(0)
        [end] = await group.ends([request])
    finally:
        os.kill(pid, signal.SIGCONT)
    [started] = [event for event in await group.events([request]) if event.kind is CaptureEventKind.STARTED]
    assert end.fence > started.fence > 0
    more = [group.request(await group.user(), Plan.PRO, f"MORE{n}") for n in range(20)]
    await group.ask(*more)
    await group.ends(more)
    ends = await group.ends([request])
    assert all((other.kind, other.picture) == (end.kind, end.picture) for other in ends)
    assert started.fence not in {other.fence for other in ends}


async def test_a_page_that_kills_workers_ends_after_its_tries(group: CaptureGroup) -> None:
    """Those beside it complete, whatever it does."""
    poison = group.request(await group.user(), Plan.PREMIUM, "KILLER")
    others = [group.request(await group.user(), Plan.PREMIUM, f"BESIDE{n}") for n in range(6)]
    await group.ask(poison, *others)
    member = {"KAFKA_GROUP_INSTANCE_ID": "poisoned"}
    for _life in range(3):
        worker = group.place.worker(**member)
        assert worker.process is not None
        await asyncio.to_thread(worker.process.wait)
        group.place.lose(worker)
    await start(group, 1, **member)
    ends = await group.ends([poison, *others])
    outcomes = {end.signal_ids[0]: (end.kind, end.reason) for end in ends}
    assert outcomes.pop(poison.signal_id) == (CaptureEventKind.FAILED, "internal_error")
    assert set(outcomes.values()) == {(CaptureEventKind.COMPLETED, None)}


async def test_a_premium_request_passes_a_backlog(group: CaptureGroup) -> None:
    """Of 200 free ones all over the partitions: it takes the first slot of its worker that gets free."""
    group.place.render_s(600)
    users = [await group.user(Plan.FREE) for _user in range(100)]
    backlog = [group.request(user, Plan.FREE, f"FREE{u}N{n}") for u, user in enumerate(users) for n in (1, 2)]
    assert len({group.partition(user) for user in users}) > PARTITIONS / 2
    premium = [await group.user(Plan.PREMIUM) for _user in range(2)]
    await start(group, 2)
    await group.ask(*backlog)
    await until_waiting(group, Plan.FREE, len(backlog) - 2 * SLOTS)
    # the backlog has been served for a while when they come
    group.place.render_s(0.2)
    await group.opened("FREE50N1")
    group.place.render_s(600)
    await until_open(group, 2 * SLOTS)
    await group.ask(*(group.request(user, Plan.PREMIUM, f"PREMIUM{n}") for n, user in enumerate(premium)))
    await until_waiting(group, Plan.PREMIUM, len(premium))
    group.place.mark("waiting")
    # long beside the time from a grant to its page, so that no slot gets free twice meanwhile
    group.place.render_s(5)
    for number, _user in enumerate(premium):
        page = await group.opened(f"PREMIUM{number}")
        passed = between(group.place.pages(), "waiting", page.ticker)
        assert len([line for line in passed if line.pid == page.pid]) < SLOTS
    group.place.render_s(0)
    await group.ends(backlog)


async def test_a_user_passes_the_backlog_of_another(group: CaptureGroup) -> None:
    """Of the same plan and partition, in one slot: after no more than two of the other's pages."""
    ana = await group.user()
    bob = await group.user(partition=group.partition(ana))
    group.place.render_s(1)
    await start(group, 1, CAPTURE_SLOTS="1")
    backlog = [group.request(ana, Plan.PRO, f"ANA{n}") for n in range(300)]
    await group.ask(*backlog)
    await group.opened("ANA0")
    group.place.mark("asked")
    request = group.request(bob, Plan.PRO, "BOB")
    await group.ask(request)
    await group.opened("BOB")
    assert len(between(group.place.pages(), "asked", "BOB")) <= 2
    group.place.render_s(0)
    await group.ends([*backlog, request])


async def test_a_worker_without_its_bucket_says_so(group: CaptureGroup) -> None:
    """Not ready for that reason alone, while it runs and waits for the bucket."""
    bucket = {
        "S3_BUCKET": "pictures",
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "S3_ACCESS_KEY_ID": "id",
        "S3_SECRET_ACCESS_KEY": "secret",
    }
    worker = group.place.worker(**bucket)
    url = f"http://127.0.0.1:{worker.operations_port}/ready"

    async def is_only_bucket() -> bool:
        with suppress(ClientError):
            async with ClientSession() as session, session.get(url) as answer:
                return list((await answer.json())["failing"]) == ["bucket"]
        return False

    await eventually(is_only_bucket)
    assert worker.is_running
