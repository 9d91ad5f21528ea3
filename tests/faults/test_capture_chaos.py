"""Browsers and workers that die at random under load: every request ends once, nothing is left behind."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from deploy.local.chart.strip import decode
from schemas.plans import Plan
from schemas.records import CaptureRequest
from tests.support.api import new_signal, store
from tests.support.capture_group import CaptureGroup, CapturePlace, capture_place, open_group
from tests.support.capture_pages import profiles_in
from tests.support.capture_parts import look_alike, serving, signed_in
from tests.support.processes import living, survivors
from tests.support.role_process import RoleProcess
from tests.support.stack import Databases
from tests.support.waiting import eventually

SOAK: Final = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
CAPTURES: Final = 300 if SOAK else 40
USERS: Final = 10
KILL_AFTER: Final = 4
LOOK_EVERY_S: Final = 0.2
_FINAL: Final = ("completed", "failed", "skipped")


@pytest.fixture
def place(databases: Databases, tmp_path: Path) -> Iterator[CapturePlace]:
    with capture_place(databases, tmp_path) as place:
        yield place


@pytest.fixture
def browsers_folder(place: CapturePlace) -> Path:
    """Where the browsers of this test keep their profiles: their user must get in."""
    folder = place.folder / "browsers"
    folder.mkdir(mode=0o777)
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    folder.chmod(0o777)
    return folder


@pytest.fixture
async def group(place: CapturePlace) -> AsyncIterator[CaptureGroup]:
    try:
        async with open_group(place) as group:
            yield group
    finally:
        place.stop()


@pytest.mark.timeout(1800 if SOAK else 300)
async def test_every_request_ends_once_whatever_dies(
    group: CaptureGroup, browser_path: Path, browsers_folder: Path
) -> None:
    """In the store; its picture shows its own chart. No process and no folder of a browser stays behind."""
    requests = await stored_requests(group)
    async with serving(look_alike()) as origin:
        values = {
            "CHART_ORIGIN": origin,
            "CAPTURE_BROWSER": str(browser_path),
            "TMPDIR": str(browsers_folder),
        }
        roles = [group.place.role("sink"), *(group.place.role("capture", **values) for _ in range(3))]
        for role in roles[:3]:
            role.start()
        for role in roles[:3]:
            await asyncio.to_thread(role.until_ready)
        await group.ask(*requests)
        chaos = asyncio.create_task(kill_browsers(group, roles[1:], random.Random(9)))
        await until_final(group, len(requests) // 3)
        seen = roles[1].children()
        group.place.workers.remove(roles[1])
        os.kill(pid_of(roles[1]), signal.SIGKILL)
        assert await asyncio.to_thread(survivors, seen, 5.0) == {}
        roles[1].close()
        roles[3].start()
        await until_final(group, len(requests))
        chaos.cancel()
        await asyncio.wait({chaos})
        started = {pid: command for role in roles[2:] for pid, command in role.children().items()}
        codes = [await asyncio.to_thread(role.terminate) for role in roles[2:]]
    assert codes == [0, 0]
    assert living(started) == {}
    assert profiles_in(browsers_folder) == []
    await check_store(group, requests)


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


async def kill_browsers(group: CaptureGroup, roles: list[RoleProcess], choice: random.Random) -> None:
    """One after each few requests that have ended, however fast they do."""
    query = "SELECT count(*) FROM signals WHERE screenshot_status = ANY($1::text[])"
    killed_at = 0
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        ended = await group.pool.fetchval(query, _FINAL)
        browsers = [pid for role in roles for pid in browsers_of(role)]
        if browsers and ended >= killed_at + KILL_AFTER:
            killed_at = ended
            with suppress(ProcessLookupError):
                os.kill(choice.choice(browsers), signal.SIGKILL)


def browsers_of(role: RoleProcess) -> list[int]:
    children = role.children().items()
    return [pid for pid, command in children if "headless-shell" in command and "--type=" not in command]


async def until_final(group: CaptureGroup, count: int) -> None:
    query = "SELECT count(*) >= $1 FROM signals WHERE screenshot_status = ANY($2::text[])"

    async def reached() -> bool:
        group.place.revive()
        return bool(await group.pool.fetchval(query, count, _FINAL))

    for _minute in range(20 if SOAK else 4):
        with suppress(TimeoutError):
            await eventually(reached)
            return
    raise AssertionError(await group.pool.fetch("SELECT screenshot_status, count(*) FROM signals GROUP BY 1"))


async def check_store(group: CaptureGroup, requests: list[CaptureRequest]) -> None:
    rows = await group.pool.fetch(
        "SELECT id, screenshot_status, screenshot_reason, screenshot_key FROM signals"
        " LEFT JOIN signal_screenshots ON signal_id = id"
    )
    found: dict[UUID, tuple[str, str | None, str | None]] = {row[0]: (row[1], row[2], row[3]) for row in rows}
    assert found.keys() == {request.signal_id for request in requests}
    outcomes = Counter((status, reason) for status, reason, _key in found.values())
    # a request whose every rerun met a dying browser may fail; a wrong end is never one of these
    assert outcomes.keys() <= {
        ("completed", None),
        ("failed", "browser_crashed"),
        ("failed", "internal_error"),
    }
    assert outcomes["completed", None] >= len(requests) * 0.8
    for request in requests:
        status, _reason, key = found[request.signal_id]
        assert (status == "completed") == (key is not None)
        if key is not None:
            shown = decode((group.place.folder / "pictures" / key).read_bytes())
            assert (shown.symbol, shown.user) == (request.ticker, str(request.user_id))


def pid_of(role: RoleProcess) -> int:
    assert role.process is not None
    return role.process.pid
