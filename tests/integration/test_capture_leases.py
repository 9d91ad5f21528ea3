"""Leases of accounts and stored tries on a real database, under the rights of the capture role."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest

from capture.lease import AccountBusyError, LeaseLostError, PageOrder
from capture.leases import AccountLeases, AccountTerms
from capture.outcomes import CaptureRefusedError
from capture.progress import Progress, ProgressStore
from runtime.clock import Clock, SystemClock
from runtime.ids import SignalIds
from runtime.postgres import Pool
from schemas.records import CaptureEventKind
from sinks.capture_store import CaptureStore
from tests.support.api import new_signal, pool_of
from tests.support.capture_parts import KEY_SECRET, a_session, capture_request
from tests.support.clock import FakeClock
from tests.support.database_roles import LOGINS, Scene, open_scene, rows_of, store
from tests.support.signals import new_event
from tests.support.stack import Databases, run_apart
from tests.support.waiting import eventually

IDS = SignalIds(SystemClock())
QUICK = AccountTerms(ttl_s=1.5, renew_every_s=0.05, give_up_s=0.2, hold_s=0.2)


@pytest.fixture(scope="module")
def capture_url(databases: Databases) -> Iterator[str]:
    """A database as the capture role sees it."""

    async def prepare(url: str) -> None:
        async with open_scene(url):
            pass

    with databases.database() as url:
        run_apart(prepare(url))
        yield LOGINS["capture"].url(url)


@pytest.fixture
async def pool(capture_url: str) -> AsyncIterator[Pool]:
    async with pool_of(capture_url) as opened:
        yield opened


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with open_scene(database_url) as scene:
        yield scene


def worker(pool: Pool, terms: AccountTerms | None = None, clock: Clock | None = None) -> AccountLeases:
    """The leases of a worker of its own. By default they do not run out during a test."""
    terms = terms or AccountTerms(ttl_s=60, give_up_s=50)
    return AccountLeases(pool, IDS.mint(), KEY_SECRET, terms, clock or SystemClock())


def page(
    leases: AccountLeases, account: str, *signal_ids: UUID, tries: int = 1, reruns: int = 0
) -> PageOrder:
    key = leases.key_of(a_session(sessionid=account))
    return PageOrder(key, signal_ids or (IDS.mint(),), 1, tries, reruns)


@asynccontextmanager
async def renewed(leases: AccountLeases) -> AsyncIterator[None]:
    task = asyncio.create_task(leases.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def got(leases: AccountLeases, order: PageOrder) -> int:
    """The fence under which the page may be opened, once it may."""

    async def ask() -> int | None:
        try:
            return (await leases.begin(order)).fence
        except AccountBusyError:
            return None

    return await eventually(ask)


async def test_an_account_is_one_workers_at_a_time(pool: Pool) -> None:
    """Others are told to wait, until it is let go of; each holder has a greater fence than the last."""
    first, second = worker(pool), worker(pool)
    order = page(first, "shared")
    lease = await first.begin(order)
    with pytest.raises(AccountBusyError) as busy:
        await second.begin(order)
    assert 0 < busy.value.wait_s <= 1
    other = await second.begin(page(second, "another"))
    await second.end(other, keep=False)
    await first.end(lease, keep=False)
    assert (await second.begin(order)).fence > lease.fence


async def test_an_account_is_kept_while_there_is_work(pool: Pool) -> None:
    """Under the same fence, and let go of when the worker leaves."""
    first, second = worker(pool), worker(pool)
    order = page(first, "kept")
    lease = await first.begin(order)
    await first.end(lease, keep=True)
    with pytest.raises(AccountBusyError):
        await second.begin(order)
    assert (await first.begin(order)).fence == lease.fence
    await first.close()
    await second.begin(order)


async def test_who_keeps_an_account_for_long_gives_it_to_who_wants_it(pool: Pool) -> None:
    """And stays away for a moment, so that the other one gets it."""
    clock = FakeClock()
    first, second = worker(pool, clock=clock), worker(pool)
    order = page(first, "long")
    lease = await first.begin(order)
    clock.move(31)
    assert await first.end(lease, keep=True) == 0
    lease = await first.begin(order)
    with pytest.raises(AccountBusyError):
        await second.begin(order)
    assert await first.end(lease, keep=True) > 1
    await second.begin(order)


async def test_a_renewed_lease_lasts(pool: Pool) -> None:
    """However short it is."""
    first, second = worker(pool, replace(QUICK, give_up_s=30)), worker(pool)
    order = page(first, "renewed")
    lease = await first.begin(order)
    async with renewed(first), lease.guard():
        row = "SELECT expires_at FROM capture_leases WHERE account_key = $1"
        end = await pool.fetchval(row, order.account)

        async def outlived() -> bool:
            return bool(await pool.fetchval("SELECT clock_timestamp() > $1", end))

        await eventually(outlived)
        with pytest.raises(AccountBusyError):
            await second.begin(order)
    assert await first.end(lease, keep=False) == 0


async def test_an_unused_lease_is_let_go(pool: Pool) -> None:
    """Although its worker goes on renewing what it has."""
    first, second = worker(pool, replace(QUICK, ttl_s=60, give_up_s=50)), worker(pool)
    order = page(first, "unused")
    await first.end(await first.begin(order), keep=True)
    async with renewed(first):
        await got(second, order)


async def test_a_frozen_worker_loses_the_account(pool: Pool) -> None:
    """Another one has it by then. Neither the end of its page nor a try counts any more; the new one's do."""
    frozen, other = worker(pool, QUICK), worker(pool)
    signal_id = IDS.mint()
    lease = await frozen.begin(page(frozen, "frozen", signal_id))
    fence = await got(other, page(other, "frozen", signal_id, tries=2))
    assert fence > lease.fence
    with pytest.raises(LeaseLostError):
        await frozen.end(lease, keep=True)
    with pytest.raises(AccountBusyError):
        await frozen.begin(page(frozen, "frozen", signal_id, tries=3))
    assert await ProgressStore(pool).read([capture_request(1, signal_id=signal_id)]) == [Progress(tries=2)]


async def test_the_next_renewal_tells_who_has_lost_the_account(pool: Pool) -> None:
    """And ends what it does with it."""
    frozen, other = worker(pool, replace(QUICK, give_up_s=30)), worker(pool)
    lease = await frozen.begin(page(frozen, "told"))
    await got(other, page(other, "told"))

    async def work() -> None:
        async with lease.guard():
            await frozen.renew()
            await asyncio.Event().wait()

    with pytest.raises(LeaseLostError):
        await work()


async def test_without_renewals_the_page_is_given_up(capture_url: str) -> None:
    """Before the lease ends for others. The renewals go on once the database is back, for what is left."""
    async with pool_of(capture_url) as pool:
        leases = worker(pool, replace(QUICK, ttl_s=60))
        lease = await leases.begin(page(leases, "given up"))
        with pytest.raises(LeaseLostError):
            async with lease.guard():
                await asyncio.Event().wait()
        assert await leases.end(lease, keep=False) == 0


async def test_pages_of_an_account_keep_their_distance(pool: Pool) -> None:
    """Whichever workers open them; the wait is told."""
    terms = AccountTerms(spacing_s=60)
    first, second = worker(pool, terms), worker(pool, terms)
    order = page(first, "spaced")
    assert await first.end(await first.begin(order), keep=False) == 60
    for leases in (first, second, second):
        with pytest.raises(AccountBusyError) as busy:
            await leases.begin(order)
        assert 50 < busy.value.wait_s <= 60
        await leases.close()


async def test_an_account_has_so_many_pages_in_any_hour(scene: Scene) -> None:
    """The one more is refused, until the first of them is an hour old."""
    async with scene.login("capture") as pool:
        first, second = (worker(pool, AccountTerms(hourly=2)) for _worker in range(2))
        order = page(first, "limited")
        for leases in (first, second):
            await leases.end(await leases.begin(order), keep=False)
        with pytest.raises(CaptureRefusedError) as refused:
            await first.begin(order)
        assert refused.value.outcome.value == "account_limit"
        await scene.owner.execute("UPDATE capture_leases SET pages[1] = pages[1] - interval '1 hour'")
        await first.end(await first.begin(order), keep=False)
        with pytest.raises(CaptureRefusedError):
            await first.begin(order)


async def test_a_try_is_stored_before_its_page(pool: Pool) -> None:
    """For each request that shares it, once, and never fewer than before."""
    leases = worker(pool)
    ids = [IDS.mint() for _request in range(2)]
    requests = [capture_request(1, signal_id=signal_id) for signal_id in (*ids, IDS.mint())]
    read = ProgressStore(pool).read
    assert await read(requests) == [Progress()] * 3
    for tries, reruns in ((1, 0), (1, 1), (2, 1)):
        await leases.end(
            await leases.begin(page(leases, "tries", *ids, ids[0], tries=tries, reruns=reruns)), keep=True
        )
        assert await read(requests) == [Progress(False, tries, reruns)] * 2 + [Progress()]
    assert await read([capture_request(1, signal_id=ids[0], request_no=2)]) == [Progress()]


async def test_a_refused_page_stores_no_try(pool: Pool) -> None:
    """A request that waits for its account has all its tries."""
    leases = worker(pool, AccountTerms(spacing_s=60))
    await leases.end(await leases.begin(page(leases, "refused")), keep=True)
    signal_id = IDS.mint()
    with pytest.raises(AccountBusyError):
        await leases.begin(page(leases, "refused", signal_id))
    assert await ProgressStore(pool).read([capture_request(1, signal_id=signal_id)]) == [Progress()]


async def test_what_is_old_is_forgotten(scene: Scene) -> None:
    """Rows of accounts and tries do not pile up; what is in use stays."""
    async with scene.login("capture") as pool:
        leases = worker(pool, QUICK)
        for account in ("old", "new"):
            await leases.end(await leases.begin(page(leases, account)), keep=False)
        old = leases.key_of(a_session(sessionid="old"))
        await scene.owner.execute(
            "UPDATE capture_leases SET expires_at = now() - interval '25 hours' WHERE account_key = $1", old
        )
        await scene.owner.execute(
            "UPDATE capture_tries SET updated_at = now() - interval '7 hours' WHERE ctid = '(0,1)'"
        )
        counts = "SELECT (SELECT count(*) FROM capture_leases), (SELECT count(*) FROM capture_tries)"
        assert await rows_of(pool, counts) == [(2, 2)]

        async def forgotten() -> bool:
            return await rows_of(pool, counts) == [(1, 1)]

        async with renewed(leases):
            await eventually(forgotten)


async def test_the_store_tells_what_has_ended(scene: Scene) -> None:
    """A final outcome, or a later request in its place, ends a request; a start does not."""
    signals = [new_signal(scene.ana) for _signal in range(4)]
    await store(scene.owner, *signals)
    kinds = (CaptureEventKind.STARTED, CaptureEventKind.FAILED, CaptureEventKind.SKIPPED)
    await CaptureStore(scene.owner).apply(
        [new_event(signal, kind) for signal, kind in zip(signals[1:], kinds, strict=True)]
    )
    async with scene.login("capture") as pool:
        read = ProgressStore(pool).read
        requests = [capture_request(1, signal_id=signal.signal_id) for signal in signals]
        assert [progress.is_final for progress in await read(requests)] == [False, False, True, True]
        later = [capture_request(1, signal_id=signal.signal_id, request_no=2) for signal in signals]
        assert not any(progress.is_final for progress in await read(later))
        await scene.owner.execute("UPDATE signals SET capture_request_no = 2, capture_rank = 0")
        assert all(progress.is_final for progress in await read(requests))


async def test_many_requests_are_one_question(pool: Pool) -> None:
    """After a crash a full queue is read again."""
    requests = [capture_request(1, signal_id=IDS.mint()) for _request in range(20_000)]
    assert await ProgressStore(pool).read(requests) == [Progress()] * 20_000
