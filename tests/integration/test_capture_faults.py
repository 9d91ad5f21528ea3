"""Browsers and pages that die, freeze or hang: each fault stays where it happened and has a name."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from capture.browser import LiveBrowser
from capture.engine import Engine
from deploy.local.chart.strip import decode
from tests.support.capture_pages import Hanging, Waiting, browser_of, engine_with, page_app
from tests.support.capture_parts import a_session, look_alike, order_of, outcome_of, signed_in
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("profiles")


@pytest.mark.parametrize("chart", ["silent01", "dripping"])
async def test_a_site_that_never_answers_ends_in_time(browser_path: Path, chart: str) -> None:
    """The outcome names the phase; the browser stays in use."""
    async with engine_with(Hanging().app, browser_path, try_deadline_s=1.5) as engine:
        before = browser_of(engine)
        assert await outcome_of(engine.capture(order_of(a_session(), chart_id=chart))) == "timeout_navigate"
        assert await engine.healthy()
        assert browser_of(engine) is before


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("chart.dataReady = () => false;", "timeout_ready"),
        ("setTimeout(() => { for (;;); }, 0);", "timeout_"),
    ],
)
async def test_a_page_that_never_gets_ready_ends_in_time(browser_path: Path, body: str, outcome: str) -> None:
    """An endless loop in the page as well."""
    async with engine_with(page_app({"neverrdy": body}), browser_path, try_deadline_s=2.5) as engine:
        ended = await outcome_of(engine.capture(order_of(a_session(), chart_id="neverrdy")))
        assert ended.startswith(outcome)
        assert await engine.healthy()


async def test_a_killed_browser_is_replaced(browser_path: Path) -> None:
    """The capture under way fails as a fault of ours, at once; the next one has a new browser."""
    hanging = Hanging()
    async with engine_with(hanging.app, browser_path) as engine:
        first = browser_of(engine)
        capture = asyncio.create_task(outcome_of(engine.capture(order_of(a_session()))))
        await hanging.asked.wait()
        os.kill(first.process.popen.pid, signal.SIGKILL)
        assert await capture == "browser_crashed"
        assert await engine.healthy()
        assert browser_of(engine) is not first


async def test_a_browser_may_die_at_any_moment(browser_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any of its messages, from the first of a capture to the last: the outcome is the same."""
    outcomes = set()
    async with engine_with(look_alike(), browser_path) as engine:
        for number in (*range(1, 16), 20, 30, 50, 80):
            assert await engine.healthy()
            with monkeypatch.context() as patched:
                kill_before_message(number, browser_of(engine), patched)
                outcomes.add(await outcome_of(engine.capture(order_of(signed_in("Ana")))))
    assert outcomes <= {"browser_crashed", "completed"}
    assert "browser_crashed" in outcomes


def kill_before_message(number: int, browser: LiveBrowser, patched: pytest.MonkeyPatch) -> None:
    """Everything it says from then on is lost, as if it had died before."""
    received = browser.connection._received
    heard = 0

    def listen(data: bytes) -> None:
        nonlocal heard
        heard += 1
        if heard < number:
            received(data)
        elif heard == number:
            os.kill(browser.process.popen.pid, signal.SIGKILL)

    patched.setattr(browser.connection._replies, "_received", listen)


async def test_a_frozen_browser_is_replaced(browser_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers nothing, so it is killed long before the try's deadline."""
    monkeypatch.setattr("capture.browser.HEALTH_DEADLINE_S", 0.6)
    monkeypatch.setattr("capture.browser.WATCH_INTERVAL_S", 0.1)
    hanging = Hanging()
    async with engine_with(hanging.app, browser_path) as engine:
        first = browser_of(engine)
        capture = asyncio.create_task(outcome_of(engine.capture(order_of(a_session()))))
        await hanging.asked.wait()
        os.kill(first.process.popen.pid, signal.SIGSTOP)
        assert await capture == "browser_crashed"
        monkeypatch.undo()
        assert await engine.healthy()
        assert browser_of(engine) is not first


async def page_of(engine: Engine, chart_id: str) -> Any:
    """Once its address is known: the site may have been asked before that."""
    pages = await browser_of(engine).contexts.puppet.pages()
    return next((page for page in pages if chart_id in page.url), None)


async def test_a_crashed_page_hurts_no_other(browser_path: Path) -> None:
    """Its own capture fails by name; the one beside it goes on in the same browser."""
    waiting = Waiting(users=2)
    async with engine_with(waiting.app, browser_path) as engine:
        steady = asyncio.create_task(engine.capture(order_of(a_session(), 1, chart_id="steady01")))
        doomed = asyncio.create_task(
            outcome_of(engine.capture(order_of(a_session(), 2, chart_id="doomed01")))
        )
        await waiting.all_asked.wait()
        page = await eventually(lambda: page_of(engine, "doomed01"))
        page._client.tell("Page.crash", {})
        assert await doomed == "page_crashed"
        waiting.release.set()
        assert (await steady).warning is None


async def test_a_page_that_cannot_be_closed_costs_its_browser(
    browser_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open chart uses up the user's connections, so the browser is replaced, and the picture counts."""

    async def never(_page: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("pyppeteer.page.Page.close", never)
    monkeypatch.setattr("capture.tab.CLOSE_DEADLINE_S", 0.05)
    async with engine_with(look_alike(), browser_path, warm_pages=0) as engine:
        first = browser_of(engine)
        shot = await engine.capture(order_of(signed_in("Ana")))
        assert decode(shot.png).user == "Ana"
        assert await engine.healthy()
        assert browser_of(engine) is not first
        assert first.is_gone


async def test_a_cancelled_capture_leaves_a_clean_browser(browser_path: Path) -> None:
    """Its page is closed, and others go on."""
    hanging = Hanging()
    async with engine_with(hanging.app, browser_path) as engine:
        capture = asyncio.create_task(engine.capture(order_of(a_session())))
        await hanging.asked.wait()
        capture.cancel()
        await asyncio.wait({capture})
        assert capture.cancelled()
        assert await browser_of(engine).contexts.puppet.pages() == []
        assert await engine.healthy()


async def test_a_worn_browser_lets_its_last_capture_finish(browser_path: Path) -> None:
    """The new one takes over beside it; the old one ends with its last capture."""
    waiting = Waiting(users=1)
    async with engine_with(waiting.app, browser_path, recycle_captures=1) as engine:
        first = browser_of(engine)
        old = asyncio.create_task(engine.capture(order_of(a_session(), 1)))
        await waiting.all_asked.wait()
        waiting.all_asked.clear()
        new = asyncio.create_task(engine.capture(order_of(a_session(), 2)))
        await waiting.all_asked.wait()
        assert browser_of(engine) is not first
        assert not first.is_gone
        waiting.release.set()
        await asyncio.gather(old, new)
        assert first.is_gone


async def test_a_browser_that_holds_too_much_is_replaced(
    browser_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next capture, as when it is old; memory is measured while it runs."""
    limit_mb = 4000
    monkeypatch.setattr("capture.browser.WATCH_INTERVAL_S", 0.05)
    async with engine_with(look_alike(), browser_path, recycle_memory_mb=limit_mb) as engine:
        first = browser_of(engine)

        async def measured() -> int:
            return first.memory_bytes

        assert await eventually(measured) < limit_mb * 1024**2
        for heavy_bytes, is_kept in ((limit_mb * 1024**2 - 1, True), (limit_mb * 1024**2, False)):
            monkeypatch.setattr("capture.browser.group_memory_bytes", lambda _group, held=heavy_bytes: held)

            async def is_heavy(held: int = heavy_bytes) -> bool:
                return first.memory_bytes == held

            await eventually(is_heavy)
            await engine.capture(order_of(signed_in("Ana")))
            assert (browser_of(engine) is first) == is_kept
        assert first.is_gone


async def test_contexts_are_few(browser_path: Path) -> None:
    """The users asked for longest ago are forgotten, and come back from nothing."""
    async with engine_with(look_alike(), browser_path, warm_contexts=2) as engine:
        for number in (1, 2, 3, 1):
            shot = await engine.capture(order_of(signed_in(f"user {number}"), number))
            assert decode(shot.png).user == f"user {number}"
        assert len(browser_of(engine).contexts.puppet.browserContexts) == 1 + 2
