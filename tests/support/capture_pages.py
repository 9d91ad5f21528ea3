"""Chart sites for tests that do what the look-alike does not, and a real browser beside them."""

import asyncio
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from capture.browser import LiveBrowser
from capture.engine import Engine
from capture.profile import PREFIX
from tests.support.capture_parts import engine_on, serving
from tests.support.processes import descendants, survivors

# A page that is ready at once. `$BODY` runs first.
PAGE: Final = """<!doctype html><html class="is-authenticated"><body>
<div class="chart-container"><canvas width="600" height="300"></canvas></div>
<script>
const asked = new URLSearchParams(location.search);
const chart = {
  symbol: () => asked.get("symbol"), resolution: () => asked.get("interval"), dataReady: () => true,
};
globalThis.TradingViewApi = { activeChart: () => chart };
$BODY
const brush = document.querySelector("canvas").getContext("2d");
const paint = (shade) => {
  for (let i = 0; i < 60; i += 1) {
    brush.fillStyle = `hsl(${shade + i * 6} 80% 50%)`;
    brush.fillRect(i * 10, 0, 9, 300);
  }
};
paint(0);
</script></body></html>"""


def page_response(body: str = "", status: int = 200) -> web.Response:
    return web.Response(text=PAGE.replace("$BODY", body), content_type="text/html", status=status)


def page_app(bodies: Mapping[str, str]) -> web.Application:
    """Serves the page above with one script for each chart id."""
    app = web.Application()
    app.router.add_get("/chart/{chart_id}/", partial(_page, bodies))
    return app


def status_app(status: int) -> web.Application:
    """The page above, with another status."""

    async def refuse(_request: web.Request) -> web.Response:
        return page_response(status=status)

    app = web.Application()
    app.router.add_get("/chart/{chart_id}/", refuse)
    return app


def redirecting_app(target: str) -> web.Application:
    async def away(_request: web.Request) -> web.Response:
        raise web.HTTPFound(target)

    app = web.Application()
    app.router.add_get("/chart/{chart_id}/", away)
    return app


class Waiting:
    """Charts that get ready when the test says so. `all_asked` is set when all users' pages wait for it."""

    def __init__(self, users: int) -> None:
        body = (
            "const real = chart.dataReady; chart.dataReady = () => false;"
            "fetch('/wait').then(() => { chart.dataReady = real; });"
        )
        self.release = asyncio.Event()
        self.all_asked = asyncio.Event()
        self._missing = users
        self.app = page_app(defaultdict(lambda: body))
        self.app.router.add_get("/wait", self._wait)

    async def _wait(self, _request: web.Request) -> web.Response:
        self._missing -= 1
        if self._missing <= 0:
            self.all_asked.set()
        await self.release.wait()
        return web.Response()


class Hanging:
    """A site that takes the request and says nothing, or no more than the beginning."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_get("/chart/{chart_id}/", self._hang)

    async def _hang(self, request: web.Request) -> web.StreamResponse:
        self.asked.set()
        if request.match_info["chart_id"] == "dripping":
            response = web.StreamResponse(headers={"Content-Type": "text/html"})
            await response.prepare(request)
            await response.write(b"<!doctype html><html class=is-authenticated>")
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")


@asynccontextmanager
async def clean_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Path]:
    """A folder for the browsers' folders. On exit no process and no folder of a browser may be there."""
    # pytest's own folders are made from the setting below, once, and must not end up in there
    tmp_path_factory.getbasetemp()
    folder = _open_folder()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    try:
        yield folder
        assert await asyncio.to_thread(survivors, _browsers(), 2.0) == {}
        assert profiles_in(folder) == []
    finally:
        shutil.rmtree(folder)


def _browsers() -> dict[int, str]:
    """Those of the test itself, not the servers that all tests share."""
    processes = descendants(os.getpid())
    return {pid: command for pid, command in processes.items() if "headless-shell" in command}


def profiles_in(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PREFIX}*"))


def _open_folder() -> Path:
    """A folder that the browser's user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="capture-test-"))
    folder.chmod(0o755)
    return folder


@asynccontextmanager
async def engine_with(app: web.Application, browser: Path, **changes: object) -> AsyncIterator[Engine]:
    """An engine on a site of its own."""
    async with serving(app) as origin, engine_on(origin, browser, **changes) as engine:
        yield engine


def browser_of(engine: Engine) -> LiveBrowser:
    browser = engine._parts.supply._current
    assert browser is not None
    return browser


async def addresses_of(engine: Engine) -> list[str]:
    """Of the pages that are open."""
    return [page.url for page in await browser_of(engine).contexts.puppet.pages()]


def renderer_states(engine: Engine) -> list[str]:
    """What the kernel says of the processes that run pages."""
    processes = descendants(browser_of(engine).process.popen.pid)
    pids = [pid for pid, command in processes.items() if "--type=renderer" in command]
    return [Path(f"/proc/{pid}/status").read_text() for pid in pids]


async def _page(bodies: Mapping[str, str], request: web.Request) -> web.Response:
    return page_response(bodies[request.match_info["chart_id"]])
