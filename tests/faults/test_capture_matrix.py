"""Every state of the site on the real browser: outcome, the right picture if there is one, nothing left."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from capture.engine import CaptureOrder, Engine, Shot
from capture.outcomes import CaptureFailedError, Outcome
from deploy.local.chart.interval import LAYOUT_INTERVAL, interval_or_default
from deploy.local.chart.states import RESERVED
from deploy.local.chart.strip import StripContent, decode
from runtime.clock import SystemClock
from tests.support.capture_leaks import open_files
from tests.support.capture_pages import addresses_of, browser_of, engine_with
from tests.support.capture_parts import look_alike, order_of, outcome_of, signed_in
from tests.support.processes import memory_bytes

pytestmark = pytest.mark.usefixtures("profiles")

SOAK: Final = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
ROUNDS: Final = 12 if SOAK else 1
CHAOS_CAPTURES: Final = 300 if SOAK else 24
CHAOS_KILLS: Final = 30 if SOAK else 3
FLAT_CAPTURES: Final = 600 if SOAK else 42
WARM_CAPTURES: Final = FLAT_CAPTURES // 10 // 3 * 3
SLOTS: Final = 3
USERS: Final = 7 * SLOTS
# On a busy machine a page may take long; the states that last until the deadline have a shorter one.
TRY_DEADLINE_S: Final = 30
SHORT_DEADLINE_S: Final = 8

OUTCOMES: Final = {
    "StateSignedOut": "session_expired",
    "StateSignIn": "session_expired",
    "StatePrivate": "access_denied",
    "StateCaptcha": "captcha",
    "StateMissing": "layout_not_found",
    "StateForbidden": "access_denied",
    "StateTooMany": "rate_limited",
    "StateBroken": "site_error",
    "StateOffSite": "off_site",
    "StateSilence": "timeout_navigate",
    "StateDrip": "timeout_navigate",
    "StateReconnect": "connection_limit",
    "StateFlagged": "account_flagged",
    "StatePromo": "completed",
    "StateAlerts": "completed",
    "StateOffer": "completed",
    "StateCookies": "completed",
    "StateLoader": "timeout_ready",
    "StateBlank": "blank_picture",
    "StateNoBars": "blank_picture",
    "StateStale": "completed",
    "StateEcho": "completed",
    "StateStuck": "wrong_chart",
    "StateAlertBox": "completed",
    "StateLoop": "timeout_ready",
    "StateMemory": "page_crashed",
    "StateCrash": "page_crashed",
    "StateLeave": "off_site",
    "StateWorker": "completed",
    "StateHuge": "completed",
    # ordinary ones, between the others
    "Ordinary": "completed",
    "Heavy001": "completed",
}


def order_number(number: int, chart_id: str) -> CaptureOrder:
    """User, symbol and interval tell each order from all others."""
    interval = ("5", "60", "1D", None)[number % 4]
    ticker = f"BINANCE:SYM{number}"
    return order_of(signed_in(f"user {number}"), number, chart_id=chart_id, ticker=ticker, interval=interval)


async def taken(engine: Engine, order: CaptureOrder) -> Shot | str:
    """The picture, which must show what was asked for, or the outcome that says why there is none."""
    asked_ms = SystemClock().unix_ms()
    try:
        shot = await engine.capture(order)
    except CaptureFailedError as failure:
        return failure.outcome.value
    check_picture(order, shot, asked_ms)
    return shot


def check_picture(order: CaptureOrder, shot: Shot, asked_ms: int) -> None:
    code = order.view.interval or LAYOUT_INTERVAL.code
    interval = interval_or_default(code)
    shown = decode(shot.png)
    number = order.view.ticker.removeprefix("BINANCE:SYM")
    assert replace(shown, last_bar_ms=0) == StripContent(order.view.ticker, code, f"user {number}", 0)
    possible = (asked_ms, SystemClock().unix_ms())
    assert shown.last_bar_ms in {interval.start_ms(interval.index_at(at_ms)) for at_ms in possible}


async def all_taken(engine: Engine, orders: Sequence[CaptureOrder]) -> list[Shot | str]:
    slots = asyncio.Semaphore(SLOTS)

    async def one(order: CaptureOrder) -> Shot | str:
        async with slots:
            return await taken(engine, order)

    return list(await asyncio.gather(*map(one, orders)))


def outcome_name(result: Shot | str) -> str:
    return result if isinstance(result, str) else Outcome.COMPLETED.value


def test_the_matrix_is_whole() -> None:
    """No state of the look-alike is left out."""
    assert set(RESERVED) <= set(OUTCOMES)


LASTING: Final = [chart for chart, outcome in OUTCOMES.items() if outcome.startswith("timeout_")]


@pytest.mark.parametrize(
    ("states", "deadline_s"),
    [
        ([chart for chart in OUTCOMES if chart not in LASTING], TRY_DEADLINE_S),
        ([*LASTING, "Ordinary"], SHORT_DEADLINE_S),
    ],
    ids=["telling", "lasting"],
)
@pytest.mark.timeout(1800 if SOAK else 170)
async def test_every_state_has_its_outcome(
    browser_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[str], deadline_s: float
) -> None:
    """Side by side in one browser and in any order: none disturbs another, and every slot comes back."""
    monkeypatch.setattr("capture.starter.PAGE_HEAP_MB", 96)
    shuffle = random.Random(9)
    async with engine_with(look_alike(), browser_path, try_deadline_s=deadline_s) as engine:
        for turn in range(ROUNDS):
            charts = list(states)
            shuffle.shuffle(charts)
            orders = [order_number(turn * 100 + n, chart) for n, chart in enumerate(charts)]
            results = dict(zip(charts, map(outcome_name, await all_taken(engine, orders)), strict=True))
            # a page that loops may do so before its first report
            if results.get("StateLoop") == "timeout_navigate":
                results["StateLoop"] = "timeout_ready"
            assert results == {chart: OUTCOMES[chart] for chart in charts}
            assert await engine.healthy()
            assert set(await addresses_of(engine)) <= {"about:blank"}


async def test_an_unknown_symbol_has_a_name(browser_path: Path) -> None:
    """Told by the page, not by a timeout."""
    async with engine_with(look_alike(), browser_path) as engine:
        order = order_of(signed_in("Ana"), ticker="UNKNOWN:NOTHING")
        assert await outcome_of(engine.capture(order)) == "symbol_unknown"


async def test_a_service_worker_brings_no_old_page_back(browser_path: Path) -> None:
    """It would answer with the page of the first visit, of another symbol, from a context kept warm."""
    async with engine_with(look_alike(), browser_path) as engine:
        session = signed_in("Ana")
        for ticker in ("X:FIRST", "X:SECOND", "X:THIRD"):
            shot = await engine.capture(order_of(session, chart_id="StateWorker", ticker=ticker))
            assert decode(shot.png).symbol == ticker


@pytest.mark.timeout(1800 if SOAK else 170)
async def test_browsers_killed_at_random_lose_nothing_but_their_captures(browser_path: Path) -> None:
    """Every capture ends, as a right picture or as a fault of ours; the last browser serves on."""
    chance = random.Random(10)
    async with engine_with(look_alike(), browser_path, try_deadline_s=TRY_DEADLINE_S) as engine:
        orders = [order_number(number, "Ordinary") for number in range(CHAOS_CAPTURES)]
        kill_at = set(chance.sample(range(CHAOS_CAPTURES), CHAOS_KILLS))
        slots = asyncio.Semaphore(SLOTS)

        async def one(number: int) -> str:
            async with slots:
                capture = asyncio.create_task(taken(engine, orders[number]))
                if number in kill_at:
                    await asyncio.sleep(chance.random() / 3)  # a moment anywhere in the capture
                    with suppress(ProcessLookupError):
                        os.kill(browser_of(engine).process.popen.pid, signal.SIGKILL)
                return outcome_name(await capture)

        outcomes = await asyncio.gather(*map(one, range(CHAOS_CAPTURES)))
        assert set(outcomes) <= {"completed", "browser_crashed"}
        assert "completed" in outcomes
        assert isinstance(await taken(engine, order_number(9_999, "Ordinary")), Shot)


@pytest.mark.timeout(1800 if SOAK else 170)
async def test_many_captures_leave_memory_and_descriptors_flat(browser_path: Path) -> None:
    """Of this process; the browser is replaced on the way. The first tenth fills what stays warm."""
    async with engine_with(look_alike(), browser_path, recycle_captures=25) as engine:
        orders = [order_number(number % USERS, "Ordinary") for number in range(FLAT_CAPTURES)]
        await in_lanes(engine, orders[:WARM_CAPTURES])
        before = (memory_bytes(os.getpid()), len(open_files(os.getpid())))
        await in_lanes(engine, orders[WARM_CAPTURES:])
        after = (memory_bytes(os.getpid()), len(open_files(os.getpid())))
    assert after[0] - before[0] < 60 * 1024 * 1024
    # a browser has four, and there may be two while one takes over from the other
    assert after[1] - before[1] <= 4


async def in_lanes(engine: Engine, orders: Sequence[CaptureOrder]) -> None:
    """In slots, a user always in the same one, since of a user there is one capture at a time."""

    async def run(lane: int) -> None:
        for order in orders[lane::SLOTS]:
            assert isinstance(await taken(engine, order), Shot)

    await asyncio.gather(*map(run, range(SLOTS)))
