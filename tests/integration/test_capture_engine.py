"""The engine with a real browser: the picture that was asked for, or the outcome that says why not."""

from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from deploy.local.chart.strip import decode
from runtime.errors import FatalError
from tests.support.capture_pages import addresses_of, engine_with, page_app, status_app
from tests.support.capture_parts import (
    CHART_ID,
    a_session,
    engine_on,
    look_alike,
    order_of,
    outcome_of,
    serving,
    signed_in,
)

pytestmark = pytest.mark.usefixtures("profiles")

SHIPPED: Final = (Path(__file__).parents[2] / "capture/site.toml").read_text()


@pytest.mark.parametrize(
    ("ticker", "interval"),
    [
        ("BINANCE:BTCUSDT", "5"),
        ("NSE:M&M", "1D"),
        ("BINANCE:BTCUSDT/BINANCE:ETHUSDT", "240"),
        ("EURUSD", None),
    ],
)
async def test_the_picture_shows_what_was_asked(
    browser_path: Path, ticker: str, interval: str | None
) -> None:
    """User, symbol and interval are read back from the picture itself."""
    async with engine_with(look_alike(), browser_path) as engine:
        shot = await engine.capture(order_of(signed_in("Ana"), ticker=ticker, interval=interval))
    shown = decode(shot.png)
    assert (shown.symbol, shown.user) == (ticker, "Ana")
    assert interval in (None, shown.interval)
    assert set(shot.timings_ms) == {"navigate", "ready", "settle", "shoot"}


async def test_a_live_chart_settles_without_the_cap(browser_path: Path) -> None:
    """A price that moves fifty times a second does not keep the picture from settling."""
    async with engine_with(look_alike(tick_ms=20), browser_path) as engine:
        shots = [await engine.capture(order_of(signed_in("Ana"), ticker=f"X:S{n}")) for n in range(4)]
    assert [shot.warning for shot in shots] == [None] * 4


async def test_a_chart_that_never_rests_is_taken_by_the_cap(browser_path: Path) -> None:
    """With a warning, instead of a failure."""
    # in every frame that is looked at, and far from the one before
    again = "function again() { paint(180 * (turn++ % 2)); requestAnimationFrame(again); }"
    restless = f"let turn = 0; {again} requestAnimationFrame(again);"
    async with engine_with(page_app({"restless": restless}), browser_path) as engine:
        shot = await engine.capture(order_of(a_session(), chart_id="restless"))
    assert shot.warning == "settled_by_cap"


REFUSED: Final = [
    (CHART_ID, "BINANCE:BTCUSDT", "", "session_expired"),
    ("Public01", "BINANCE:BTCUSDT", "", "session_expired"),  # shows a chart, but not the user's
    (CHART_ID, "UNKNOWN:NOTHING", "Ana", "symbol_unknown"),
]


@pytest.mark.parametrize(("chart", "ticker", "user", "outcome"), REFUSED)
async def test_what_the_site_refuses_has_a_name(
    browser_path: Path, chart: str, ticker: str, user: str, outcome: str
) -> None:
    """It is told from a fault at once, not by a timeout."""
    session = signed_in(user) if user else a_session()
    async with engine_with(look_alike(), browser_path) as engine:
        assert await outcome_of(engine.capture(order_of(session, chart_id=chart, ticker=ticker))) == outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(403, "access_denied"), (404, "layout_not_found"), (429, "rate_limited"), (503, "site_error")],
)
async def test_a_status_has_a_name(browser_path: Path, status: int, outcome: str) -> None:
    """The signed-in user gets the answer of the site as an outcome."""
    async with engine_with(status_app(status), browser_path) as engine:
        assert await outcome_of(engine.capture(order_of(a_session()))) == outcome


async def test_a_status_without_a_page_has_the_same_name(browser_path: Path) -> None:
    """An answer may be nothing but its status."""
    app = web.Application()
    app.router.add_get("/chart/{chart_id}/", empty_404)
    async with engine_with(app, browser_path) as engine:
        assert await outcome_of(engine.capture(order_of(a_session()))) == "layout_not_found"


async def empty_404(_request: web.Request) -> web.Response:
    return web.Response(status=404)


async def test_a_site_that_is_down_has_a_name(browser_path: Path) -> None:
    """A connection that is refused is a fault of the site, and tried again later."""
    async with serving(web.Application()) as gone:
        pass
    async with engine_on(gone, browser_path) as engine:
        assert await outcome_of(engine.capture(order_of(a_session()))) == "site_error"


async def test_another_page_of_the_site_is_no_chart(browser_path: Path) -> None:
    """A layout that is gone may lead to another one, which is ready and signed in."""
    bodies = {"another1": "", "gonegone": "location.replace('/chart/another1/' + location.search);"}
    async with engine_with(page_app(bodies), browser_path) as engine:
        ended = await outcome_of(engine.capture(order_of(a_session(), chart_id="gonegone")))
    assert ended == "layout_not_found"


WRONG: Final = {
    "wrongsym": 'chart.symbol = () => "BINANCE:OTHER";',
    "wrongint": 'chart.resolution = () => "60";',
    "wrongext": 'chart.symbol = () => "OTHER:BTCUSDT";',
}


@pytest.mark.parametrize("chart", WRONG)
async def test_another_chart_never_counts(browser_path: Path, tmp_path: Path, chart: str) -> None:
    """However ready it is: another symbol, interval or exchange is no success."""
    site = tmp_path / "site.toml"
    site.write_text(SHIPPED.replace("wrong_chart_ms = 5000", "wrong_chart_ms = 200"))
    async with engine_with(page_app(WRONG), browser_path, site_file=site) as engine:
        assert await outcome_of(engine.capture(order_of(a_session(), chart_id=chart))) == "wrong_chart"


CHANGING: Final = (
    'const real = chart.symbol; chart.symbol = () => "X:OLD";'
    "setTimeout(() => { chart.symbol = real; %s }, 300);"
)


@pytest.mark.parametrize(("change", "outcome"), [("paint(90);", "completed"), ("", "wrong_chart")])
async def test_a_chart_that_changes_over_is_waited_for(
    browser_path: Path, tmp_path: Path, change: str, outcome: str
) -> None:
    """The layout's own symbol shows first, then the one asked for; but not while it looks just the same."""
    site = tmp_path / "site.toml"
    site.write_text(SHIPPED.replace("wrong_chart_ms = 5000", "wrong_chart_ms = 1500"))
    app = page_app({"changing": CHANGING % change})
    async with engine_with(app, browser_path, site_file=site) as engine:
        assert await outcome_of(engine.capture(order_of(a_session(), chart_id="changing"))) == outcome


async def test_a_page_cannot_say_that_it_is_done(browser_path: Path) -> None:
    """What it tells through our own function is no outcome without a picture."""
    told = """for (const outcome of ["completed", "degraded", "stale"])
        globalThis.alertsCaptureReport?.(JSON.stringify({ kind: "blocked", outcome }));"""
    async with engine_with(page_app({"cheating": told}), browser_path) as engine:
        shot = await engine.capture(order_of(a_session(), chart_id="cheating"))
    assert shot.png


async def test_the_legend_speaks_where_the_page_has_no_object(browser_path: Path) -> None:
    """The site does not promise its own interface."""
    legend = (
        "delete globalThis.TradingViewApi;"
        "for (const [name, text] of [['title', 'BTCUSDT'], ['interval', asked.get('interval')]]) {"
        "  const part = document.createElement('b'); part.textContent = text;"
        "  part.dataset.name = `legend-source-${name}`; document.body.append(part); }"
    )
    app = page_app({"legendary": legend})
    async with engine_with(app, browser_path) as engine:
        order = order_of(a_session(), chart_id="legendary", ticker="BINANCE:BTCUSDT")
        assert await outcome_of(engine.capture(order)) == "completed"


async def test_a_blank_chart_never_counts(browser_path: Path) -> None:
    """The page says that it is ready, but nothing was drawn."""
    async with engine_with(page_app({"blankone": "throw 1;"}), browser_path) as engine:
        assert await outcome_of(engine.capture(order_of(a_session(), chart_id="blankone"))) == "blank_picture"


@pytest.mark.parametrize(
    "body",
    [
        'alert("hello");',
        'setTimeout(() => confirm("still there?"), 30);',
        'addEventListener("beforeunload", (event) => event.preventDefault());',
        'window.open("/chart/popup/"); window.open("about:blank");',
        "new WebSocket(`ws://${location.host}/nowhere`); fetch('/nowhere');",
        "navigator.serviceWorker?.register('/worker.js'); Notification.requestPermission();",
        "location.hash = 'moved';",
        "new Worker(URL.createObjectURL(new Blob(['postMessage(1)'])));",
        "document.body.append(Object.assign(document.createElement('iframe'), { srcdoc: 'inside' }));",
        "console.log('\\ud800', { deep: { er: [1, 2, 3] } }); setTimeout(() => { throw 1; }, 0);",
    ],
)
async def test_what_pages_do_is_survived(browser_path: Path, body: str) -> None:
    """Dialogs, popups, sockets and prompts do not keep the picture from being taken."""
    async with engine_with(page_app({"nuisance": body}), browser_path) as engine:
        shot = await engine.capture(order_of(a_session(), chart_id="nuisance"))
        assert await addresses_of(engine) == ["about:blank"]
    assert shot.warning is None


async def test_a_missing_browser_ends_the_start(tmp_path: Path) -> None:
    """It was asked for by name."""
    with pytest.raises(FatalError, match="CAPTURE_BROWSER"):
        async with engine_on("http://127.0.0.1:1", tmp_path / "nowhere"):
            pass
