"""Browsers and workers that die at random under load: every request ends once, nothing is left behind."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from deploy.local.chart.strip import decode
from schemas.plans import Plan
from schemas.records import CaptureEventKind, CaptureRequest
from tests.support.api import new_signal, store
from tests.support.capture_group import CaptureGroup, CaptureServers, capture_servers, open_group
from tests.support.capture_leaks import browsers_started, living_in, open_files
from tests.support.capture_parts import look_alike, serving, signed_in
from tests.support.processes import peak_memory_bytes, survivors
from tests.support.role_process import RoleProcess
from tests.support.stack import Databases
from tests.support.waiting import eventually

SOAK: Final = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
CAPTURES: Final = 300 if SOAK else 40
USERS: Final = 10
KILL_AFTER: Final = 4
LOOK_EVERY_S: Final = 0.2
# A picture is 4 MB before it is compressed: one kept for each capture or each dead browser would show.
GROWTH_BYTES: Final = 20 * 1024 * 1024
_FINAL: Final = ("completed", "failed", "skipped")

Report = Callable[[str, object], None]


@pytest.fixture(scope="module")
def servers(databases: Databases) -> Iterator[CaptureServers]:
    with capture_servers(databases) as servers:
        yield servers


@pytest.fixture
async def group(servers: CaptureServers, tmp_path: Path) -> AsyncIterator[CaptureGroup]:
    async with open_group(servers, tmp_path) as group:
        yield group


@pytest.mark.timeout(1800 if SOAK else 300)
async def test_every_request_ends_once_whatever_dies(
    group: CaptureGroup, browser_path: Path, record_property: Report
) -> None:
    """In the store; its picture shows its own chart. No process and no folder of a browser stays behind.

    A worker's memory has not peaked higher when all requests have ended than when a third had; and it has no
    more descriptors than when it began, with one browser.
    """
    place = group.place
    requests = await stored_requests(group)
    async with serving(look_alike()) as origin:
        sink = place.role("sink")
        *pair, successor = (place.browser_worker(origin, browser_path) for _worker in range(3))
        await started(sink, *pair)
        idle = min((open_files(pid_of(worker)) for worker in pair), key=len)
        await group.ask(*requests)
        async with browsers_dying(group, [*pair, successor]) as killed:
            await until_final(group, len(requests) // 3)
            doomed, steady = await kill_at_work(group, pair)
            successor.start()
            before_bytes = peak_memory_bytes(pid_of(steady))
            await until_final(group, len(requests))
        grown_bytes = peak_memory_bytes(pid_of(steady)) - before_bytes
        await until_as_few_files(steady, idle)
        codes = [await asyncio.to_thread(role.terminate) for role in (steady, successor, sink)]
    assert codes == [0, 0, 0]
    assert len(killed) >= len(requests) // KILL_AFTER // 2
    # one that is killed while it starts is in no log
    groups = killed.union(*map(browsers_started, (doomed, steady, successor)))
    assert living_in(groups) == {}
    assert list(place.browsers.iterdir()) == []
    record_property("killed", len(killed))
    record_property("grown_bytes", grown_bytes)
    assert grown_bytes < GROWTH_BYTES
    record_property("outcomes", str(dict(await check_store(group, requests))))


async def stored_requests(group: CaptureGroup) -> list[CaptureRequest]:
    """Their signals are in the store, as when the sink asks for captures."""
    requests = []
    for number in range(USERS):
        plan = list(Plan)[number % 4]
        user_id = await group.user(plan)
        await group.sign_in(user_id, signed_in(str(user_id)))
        for chart in range(CAPTURES // USERS):
            signal_ = new_signal(user_id)
            await store(group.pool, signal_)
            ticker = f"BINANCE:U{number}N{chart}"
            requests.append(group.request(user_id, plan, ticker, signal_.signal_id))
    return requests


async def started(*roles: RoleProcess) -> None:
    for role in roles:
        role.start()
    for role in roles:
        await asyncio.to_thread(role.until_ready)


@asynccontextmanager
async def browsers_dying(group: CaptureGroup, workers: list[RoleProcess]) -> AsyncIterator[set[int]]:
    """While the block lasts. The set grows by the processes that were killed."""
    killed: set[int] = set()
    chaos = asyncio.create_task(kill_browsers(group, workers, killed))
    try:
        yield killed
    finally:
        chaos.cancel()
        await asyncio.wait({chaos})
    assert chaos.cancelled()


async def kill_browsers(group: CaptureGroup, workers: list[RoleProcess], killed: set[int]) -> None:
    """One after each few requests that have ended, however fast they do."""
    chance = random.Random(9)
    killed_at = 0
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        ended = await count_final(group)
        browsers = [pid for worker in workers for pid in browsers_of(worker)]
        if browsers and ended >= killed_at + KILL_AFTER:
            killed_at = ended
            victim = chance.choice(browsers)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)


def browsers_of(worker: RoleProcess) -> list[int]:
    children = worker.children().items()
    return [pid for pid, command in children if "headless-shell" in command and "--type=" not in command]


async def kill_at_work(group: CaptureGroup, pair: list[RoleProcess]) -> tuple[RoleProcess, RoleProcess]:
    """SIGKILL one of two, while a page of it is open; all of its browsers end with it. It, and the other."""

    async def at_work() -> RoleProcess | None:
        return next((worker for worker in pair if has_page(worker)), None)

    worker = await eventually(at_work)
    [other] = [one for one in pair if one is not worker]
    children = worker.children()
    group.place.workers.remove(worker)
    os.kill(pid_of(worker), signal.SIGKILL)
    assert await asyncio.to_thread(survivors, children, 5.0) == {}
    worker.close()
    return worker, other


def has_page(worker: RoleProcess) -> bool:
    return any("--type=renderer" in command for command in worker.children().values())


async def until_as_few_files(worker: RoleProcess, idle: list[str]) -> None:
    """With one browser, which readiness asks for. The last to die may still be on its way out."""
    await asyncio.to_thread(worker.until_ready)

    async def few() -> bool:
        return len(open_files(pid_of(worker))) <= len(idle)

    try:
        await eventually(few)
    except TimeoutError:
        raise AssertionError(idle, open_files(pid_of(worker))) from None


async def count_final(group: CaptureGroup) -> int:
    query = "SELECT count(*) FROM signals WHERE screenshot_status = ANY($1::text[])"
    return int(await group.pool.fetchval(query, _FINAL))


async def until_final(group: CaptureGroup, count: int) -> None:
    async def reached() -> bool:
        group.place.revive()
        return await count_final(group) >= count

    await with_patience(reached)


async def with_patience(reached: Callable[[], Awaitable[bool]]) -> None:
    for _minute in range(20 if SOAK else 4):
        with suppress(TimeoutError):
            await eventually(reached)
            return
    raise AssertionError("never")


async def check_store(group: CaptureGroup, requests: list[CaptureRequest]) -> Counter[tuple[str, str | None]]:
    """One row a request, and what it says is all that was ever told of the request's end."""
    rows = await group.pool.fetch(
        "SELECT id, screenshot_status, screenshot_reason, screenshot_key FROM signals"
        " LEFT JOIN signal_screenshots ON signal_id = id"
    )
    found: dict[UUID, tuple[str, str | None, str | None]] = {row[0]: (row[1], row[2], row[3]) for row in rows}
    assert sorted(row[0] for row in rows) == sorted(request.signal_id for request in requests)
    assert await told_ends(group, requests) == {signal_id: {end} for signal_id, end in found.items()}
    outcomes = Counter((status, reason) for status, reason, _key in found.values())
    # a request whose every rerun met a dying browser may fail; a wrong end is never one of these
    assert outcomes.keys() <= {
        ("completed", None),
        ("failed", "browser_crashed"),
        ("failed", "internal_error"),
    }
    assert outcomes["completed", None] >= len(requests) * 0.8
    pictures = group.place.pictures()
    assert pictures.keys() == {key for _status, _reason, key in found.values() if key is not None}
    for request in requests:
        status, _reason, key = found[request.signal_id]
        assert (status == "completed") == (key is not None)
        if key is not None:
            shown = decode(pictures[key])
            assert (shown.symbol, shown.user) == (request.ticker, str(request.user_id))
    return outcomes


async def told_ends(
    group: CaptureGroup, requests: list[CaptureRequest]
) -> dict[UUID, set[tuple[str, str | None, str | None]]]:
    """All ends of each request that workers have published. The same may be told twice, by two of them."""
    ends: dict[UUID, set[tuple[str, str | None, str | None]]] = {}
    for event in await group.events(requests):
        if event.kind is not CaptureEventKind.STARTED:
            key = event.picture.key if event.picture is not None else None
            for signal_id in event.signal_ids:
                ends.setdefault(signal_id, set()).add((event.kind.value, event.reason, key))
    return ends


def pid_of(role: RoleProcess) -> int:
    assert role.process is not None
    return role.process.pid
