"""Pages that a user keeps, empty, between two pictures."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from aiohttp import web

from capture.contexts import WarmContexts
from deploy.local.chart.strip import decode
from tests.support.capture_pages import addresses_of, browser_of, clean_machine, engine_with, page_app
from tests.support.capture_parts import a_session, look_alike, order_of, outcome_of, signed_in
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
async def profiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Path]:
    """Each test leaves a clean machine."""
    async with clean_machine(monkeypatch, tmp_path_factory) as folder:
        yield folder


async def test_a_kept_page_takes_the_next_picture(browser_path: Path) -> None:
    """Again and again, each of its own chart and size, and nothing but one empty page is left each time."""
    async with engine_with(look_alike(), browser_path, warm_pages=1) as engine:
        for number in range(4):
            order = order_of(signed_in("Ana"), ticker=f"X:S{number}", interval=str(number + 1))
            shown = decode((await engine.capture(order)).png)
            assert (shown.symbol, shown.interval, shown.user) == (f"X:S{number}", str(number + 1), "Ana")
            assert await addresses_of(engine) == ["about:blank"]


async def test_a_page_belongs_to_its_user(browser_path: Path) -> None:
    """Of three users who take turns one keeps a page, and each gets the own picture."""
    async with engine_with(look_alike(), browser_path, warm_pages=1) as engine:
        for turn in range(6):
            number = turn % 3
            shot = await engine.capture(order_of(signed_in(f"user {number}"), number, ticker=f"X:T{turn}"))
            shown = decode(shot.png)
            assert (shown.user, shown.symbol) == (f"user {number}", f"X:T{turn}")
            assert await addresses_of(engine) == ["about:blank"]


async def test_a_failed_picture_leaves_no_page(browser_path: Path) -> None:
    """It is closed with its context, and the next one begins from nothing."""
    async with engine_with(look_alike(), browser_path, warm_pages=1) as engine:
        for ticker, outcome, left in (
            ("X:GOOD", "completed", ["about:blank"]),
            ("UNKNOWN:NOTHING", "symbol_unknown", []),
            ("X:GOOD", "completed", ["about:blank"]),
        ):
            assert await outcome_of(engine.capture(order_of(signed_in("Ana"), ticker=ticker))) == outcome
            assert await addresses_of(engine) == left


async def test_the_next_chart_finds_no_trace_of_the_tab(browser_path: Path) -> None:
    """A tab's own storage and name are those of a new one; what the user stores stays."""
    found: list[str] = []
    body = (
        "fetch('/told/' + [sessionStorage.length, window.name, localStorage.length].join('-'));"
        "sessionStorage.mark = localStorage.mark = window.name = 'mine';"
    )

    async def told(request: web.Request) -> web.Response:
        found.append(request.match_info["what"])
        return web.Response()

    app = page_app({"Ab3dE9xZ": body})
    app.router.add_get("/told/{what}", told)
    async with engine_with(app, browser_path, warm_pages=1) as engine:
        for number in range(3):
            await engine.capture(order_of(a_session(), ticker=f"X:S{number}"))
    assert found == ["0--0", "0--1", "0--1"]


async def test_nothing_of_a_left_chart_runs_on(browser_path: Path) -> None:
    """Its socket, which the site counts as an open chart, is closed while the empty page stays."""
    sockets: list[web.WebSocketResponse] = []

    async def line(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sockets.append(socket)
        async for _message in socket:
            pass
        return socket

    async def is_closed() -> bool:
        return sockets[-1].closed

    app = page_app({"Ab3dE9xZ": "globalThis.line = new WebSocket(`ws://${location.host}/line`);"})
    app.router.add_get("/line", line)
    async with engine_with(app, browser_path, warm_pages=1) as engine:
        for number in range(2):
            await engine.capture(order_of(a_session(), ticker=f"X:S{number}"))
            assert await eventually(is_closed)
            assert await addresses_of(engine) == ["about:blank"]
    assert len(sockets) == 2


async def test_a_kept_page_that_crashes_is_replaced(browser_path: Path) -> None:
    """The next picture of its user is taken in another, at the first try."""
    async with engine_with(look_alike(), browser_path, warm_pages=1) as engine:
        await engine.capture(order_of(signed_in("Ana")))
        [kept] = await browser_of(engine).contexts.puppet.pages()
        crashed = asyncio.Event()
        kept.on("error", lambda _error: crashed.set())
        kept._client.tell("Page.crash", {})
        await crashed.wait()
        shot = await engine.capture(order_of(signed_in("Ana"), ticker="X:NEXT"))
    assert decode(shot.png).symbol == "X:NEXT"


async def test_without_memory_for_it_no_page_stays(browser_path: Path) -> None:
    """The context does."""
    async with engine_with(look_alike(), browser_path, warm_memory_mb=0) as engine:
        await engine.capture(order_of(signed_in("Ana")))
        assert await addresses_of(engine) == []
        assert len(browser_of(engine).contexts.puppet.browserContexts) == 1 + 1


async def test_a_browser_that_grows_lets_pages_go(
    browser_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, the page of whoever came longest ago first, and each gets the next picture."""
    monkeypatch.setattr("capture.browser.WATCH_INTERVAL_S", 0.05)
    async with engine_with(look_alike(), browser_path, warm_memory_mb=1536) as engine:
        for number in range(2):
            await engine.capture(order_of(signed_in(f"user {number}"), number))
        kept = list(browser_of(engine).contexts._warm)
        let_go: list[UUID] = []

        async def drop(contexts: WarmContexts, user_id: UUID) -> None:
            let_go.append(user_id)
            await dropped(contexts, user_id)

        dropped = WarmContexts.drop
        monkeypatch.setattr(WarmContexts, "drop", drop)
        monkeypatch.setattr("capture.browser.group_memory_bytes", lambda _group: 2 * 1024**3)

        async def all_gone() -> bool:
            return await addresses_of(engine) == []

        assert await eventually(all_gone)
        assert let_go == kept
        shot = await engine.capture(order_of(signed_in("user 0"), 0))
    assert decode(shot.png).user == "user 0"
