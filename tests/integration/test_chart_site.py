"""The chart look-alike in a real browser: page, data socket and strip together."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from pydantic import SecretStr

from deploy.local.chart import sessions
from deploy.local.chart.settings import ChartSiteSettings
from deploy.local.chart.site import create_app
from deploy.local.chart.strip import StripContent, StripError, decode
from runtime.clock import SystemClock
from tests.support.browser_probe import Browser, Page, open_browser

_ROOT = Path(__file__).parents[2]
_LIBRARY = _ROOT / ".local/opt/lightweight-charts"
_SECRET = SecretStr("a secret of the look-alike")
_HOUR_MS = 3_600_000

_READY = "globalThis.TradingViewApi?.activeChart().dataReady()"
_CANDLES = """(() => {
  const green = ([r, g, b]) => r === 38 && g === 166 && b === 154;
  const drawn = (canvas) => {
    if (canvas.width < 500 || canvas.height < 300) return false;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) if (green([data[i], data[i + 1], data[i + 2]])) return true;
    return false;
  };
  return [...document.querySelectorAll(".chart-pane canvas")].some(drawn);
})()"""
# Each entry is what the last painted frame showed: it is read before this frame's own callbacks run.
_FRAME_LOG = f"""
globalThis.frames_seen = [];
const look = () => {{
  const chart = globalThis.TradingViewApi?.activeChart();
  if (chart) frames_seen.push({{
    candles: {_CANDLES},
    canvases: document.querySelectorAll(".chart-pane canvas").length,
    strip: !document.getElementById("strip").hidden,
    loader: document.querySelector('[class^="loaderItem"]') !== null,
    legend: document.querySelector('[data-name="legend-close"]').textContent !== "",
    ready: chart.dataReady(),
    bars: chart.barsCount(),
  }});
  requestAnimationFrame(look);
}};
requestAnimationFrame(look);
"""


class ShiftedClock(SystemClock):
    """The system's clock, moved by the test."""

    shift_ms = 0

    def unix_ms(self) -> int:
        return super().unix_ms() + self.shift_ms


class Site:
    """A running look-alike."""

    def __init__(self, origin: str, clock: ShiftedClock) -> None:
        self.origin = origin
        self.clock = clock

    def chart_url(self, chart_id: str = "abcd1234", **query: str) -> str:
        return f"{self.origin}/chart/{chart_id}/?{urlencode(query)}"

    async def sign_in(self, page: Page, user: str = "Ana") -> None:
        session = sessions.mint(_SECRET, user, sessions.new_session_id())
        values = {
            "sessionid": session.sessionid.get_secret_value(),
            "sessionid_sign": session.sessionid_sign.get_secret_value(),
        }
        await page.set_cookies(self.origin, values)


@pytest.fixture(scope="session")
def chart_library() -> Path:
    """The folder `make run` installs the library to; installed the same way when it is missing."""
    folder = _LIBRARY / "lightweight_charts/js"
    if not (folder / "lightweight-charts.js").exists():
        lock = _ROOT / "deploy/local/chart/requirements.lock"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "--target", str(_LIBRARY), "-r", str(lock)], check=True, timeout=120)
    return folder


@asynccontextmanager
async def _serving(library: Path, loading_ms: int = 30) -> AsyncIterator[Site]:
    settings = ChartSiteSettings(secret=_SECRET, library=library, loading_ms=loading_ms, tick_ms=50)
    clock = ShiftedClock()
    runner = web.AppRunner(create_app(settings, clock), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}", clock)
    finally:
        await runner.cleanup()


@pytest.fixture
async def site(chart_library: Path) -> AsyncIterator[Site]:
    async with _serving(chart_library) as running:
        yield running


@pytest.fixture
async def browser(browser_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(browser_path) as running:
        yield running


def _hour(unix_ms: int) -> int:
    return unix_ms - unix_ms % _HOUR_MS


async def _frames_until_ready(page: Page) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = await page.until("frames_seen.at(-1)?.ready && frames_seen")
    return frames


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
@pytest.mark.parametrize(
    ("symbol", "user"),
    [
        ("BINANCE:BTCUSDT", "Ana"),
        ("NSE:M&M", "<b>Łukasz</b> 🚀"),
        ('={"adjustment":"splits","session":"regular","symbol":"BATS:AAPL"}', "x" * 64),
        ("W" * 256, "Ana"),
    ],
)
async def test_the_picture_says_what_it_shows(
    site: Site, browser: Browser, symbol: str, user: str, size: tuple[int, int]
) -> None:
    """The strip that the page painted is read back from the screenshot: script and Python agree."""
    async with browser.page(*size) as page:
        await site.sign_in(page, user)
        before_ms = site.clock.unix_ms()
        await page.goto(site.chart_url(symbol=symbol, interval="60"))
        await page.until(_READY)
        content = decode(await page.screenshot())
    assert (content.symbol, content.interval, content.user) == (symbol, "60", user)
    assert content.last_bar_ms in {_hour(before_ms), _hour(site.clock.unix_ms())}


async def test_the_strip_survives_a_sharper_screen(site: Site, browser: Browser) -> None:
    """A picture at two device pixels per CSS pixel is read as well."""
    async with browser.page() as page:
        await page.send(
            "Emulation.setDeviceMetricsOverride", width=1280, height=720, deviceScaleFactor=2, mobile=False
        )
        await page.goto(site.chart_url("Public01", symbol="A:B", interval="D"))
        await page.until(_READY)
        assert decode(await page.screenshot()).symbol == "A:B"


async def test_no_frame_says_more_than_it_shows(chart_library: Path, browser: Browser) -> None:
    """Candles, strip, legend and `dataReady` come in one frame; before it all canvases are empty."""
    async with _serving(chart_library, loading_ms=400) as site, browser.page() as page:
        await site.sign_in(page)
        await page.on_new_document(_FRAME_LOG)
        await page.goto(site.chart_url(symbol="A:B", interval="60"))
        frames = await _frames_until_ready(page)
    before, after = frames[:-1], frames[-1]
    assert any(frame["canvases"] for frame in before), "no empty canvas was ever shown"
    empty = {"candles": False, "strip": False, "loader": True, "legend": False, "ready": False, "bars": 0}
    assert all(frame | empty == frame for frame in before)
    full = {"candles": True, "strip": True, "loader": False, "legend": True, "ready": True, "bars": 300}
    assert after | full == after


async def test_data_that_is_there_at_once_is_drawn_in_one_frame_too(site: Site, browser: Browser) -> None:
    """The light page keeps the same promise: never a strip or `dataReady` without candles."""
    async with browser.page() as page:
        await site.sign_in(page)
        await page.on_new_document(_FRAME_LOG)
        await page.goto(site.chart_url(symbol="A:B", interval="60"))
        frames = await _frames_until_ready(page)
    told = {(frame["candles"], frame["strip"], frame["ready"], not frame["loader"]) for frame in frames}
    assert told <= {(False,) * 4, (True,) * 4}


async def test_the_page_api_tells_the_truth(site: Site, browser: Browser) -> None:
    """Symbol and interval as requested, and the bars that are drawn."""
    async with browser.page() as page:
        await site.sign_in(page)
        await page.goto(site.chart_url(symbol="CME_MINI:ES1!", interval="D"))
        await page.until(_READY)
        chart = "TradingViewApi.activeChart()"
        told = await page.evaluate(f"[{chart}.symbol(), {chart}.resolution(), {chart}.barsCount()]")
    assert told == ["CME_MINI:ES1!", "D", 300]


async def test_the_last_candle_moves_and_the_network_stays_busy(site: Site, browser: Browser) -> None:
    """Prices keep coming, and the picture changes with them."""
    close = "document.querySelector('[data-name=\"legend-close\"]').textContent"
    async with browser.page() as page:
        await site.sign_in(page)
        await page.goto(site.chart_url(symbol="A:B", interval="60"))
        await page.until(_READY)
        first, picture = await page.evaluate(close), await page.screenshot()
        second = await page.until(f"{close} !== {first!r} && {close}")
        await page.until(f"{close} !== {second!r} && {close}")
        assert await page.screenshot() != picture


async def test_a_new_hour_shows_in_chart_and_strip(site: Site, browser: Browser) -> None:
    """The last bar follows the server's clock, and the strip follows the last bar."""
    async with browser.page() as page:
        await site.sign_in(page)
        await page.goto(site.chart_url(symbol="A:B", interval="60"))
        await page.until(_READY)
        before = decode(await page.screenshot())
        site.clock.shift_ms = 2 * _HOUR_MS
        await page.until("TradingViewApi.activeChart().barsCount() >= 302")
        after = decode(await page.screenshot())
    assert after.last_bar_ms >= before.last_bar_ms + 2 * _HOUR_MS


async def test_a_symbol_that_does_not_exist_is_said_not_to(site: Site, browser: Browser) -> None:
    """The overlay shows instead of candles, the strip stays away, the API has no data."""
    overlay = "document.querySelector('[data-name=\"invalid-symbol\"]')"
    async with browser.page() as page:
        await site.sign_in(page)
        await page.goto(site.chart_url(symbol="UNKNOWN:FOO", interval="60"))
        await page.until(f"{overlay} && !{overlay}.hidden")
        assert await page.evaluate("TradingViewApi.activeChart().dataReady()") is False
        assert await page.evaluate("TradingViewApi.activeChart().barsCount()") == 0
        with pytest.raises(StripError):
            decode(await page.screenshot())


async def test_the_signed_out_see_public_charts_only(site: Site, browser: Browser) -> None:
    """A private chart shows the sign-in dialog, a public one loads without a user."""
    async with browser.page() as page:
        await page.goto(site.chart_url(symbol="A:B"))
        await page.until("document.querySelector('[data-dialog-name=\"sign-in\"]')")
        assert await page.evaluate("document.documentElement.classList.contains('is-not-authenticated')")
        await page.goto(site.chart_url("Public01", symbol="A:B", interval="5"))
        await page.until(_READY)
        content = decode(await page.screenshot())
    assert content == StripContent("A:B", "5", None, content.last_bar_ms)


async def test_values_run_no_script(site: Site, browser: Browser) -> None:
    """Hostile symbols and user names are shown as text."""
    hostile = "</script><script>pwned=1</script><img src=x onerror='pwned=1'>"
    async with browser.page() as page:
        await site.sign_in(page, hostile[:64])
        await page.goto(site.chart_url(symbol=hostile))
        title = "document.querySelector('[data-name=\"legend-source-title\"]')?.textContent"
        assert await page.until(title) == hostile
        await page.until("!document.querySelector('[data-name=\"invalid-symbol\"]').hidden")
        assert await page.evaluate("typeof pwned") == "undefined"


async def test_a_warm_browser_fetches_only_the_page(site: Site, browser: Browser) -> None:
    """Files come from the cache the second time, and none ever comes from another host."""
    fetched = "performance.getEntriesByType('resource').map((entry) => [entry.name, entry.transferSize])"
    async with browser.page() as page:
        await site.sign_in(page)
        for symbol in ("A:B", "C:D"):
            await page.goto(site.chart_url(symbol=symbol))
            await page.until(f"location.search.includes({symbol[0]!r}) && {_READY}")
        entries = await page.evaluate(fetched)
    assert len(entries) == 4
    assert all(name.startswith(f"{site.origin}/static/") and size == 0 for name, size in entries)
