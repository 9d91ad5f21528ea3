import html
import json
import re

import pytest

from deploy.local.chart.interval import LAYOUT_INTERVAL
from deploy.local.chart.pages import ChartView, Pages

_URLS = {
    "chart_css": "/a.css",
    "strip_js": "/b.js",
    "chart_js": "/c.js",
    "library_js": "/d.js",
    "pranks_js": "/e.js",
}
_HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "$symbol ${user} $$",
    "\u2028&amp;'",
]


def _chart(symbol: str, user: str | None = "Ana") -> str:
    text = Pages(_URLS).chart(ChartView(symbol, LAYOUT_INTERVAL, user)).text
    assert text is not None
    return text


@pytest.mark.parametrize("value", _HOSTILE)
def test_values_stay_values(value: str) -> None:
    """Symbol and user reach the page as text only: the page has the same tags whatever they hold."""
    tags = re.compile(r"</?[a-z!][^\s>]*", re.IGNORECASE)
    assert tags.findall(_chart(value, value)) == tags.findall(_chart("BINANCE:BTCUSDT"))


@pytest.mark.parametrize("value", _HOSTILE)
def test_scripts_get_values_unchanged(value: str) -> None:
    """What the JSON tag holds is what was asked for, to the character."""
    tag = re.search(r'<script type="application/json" id="chart-config">(.*?)</script>', _chart(value, value))
    assert tag is not None
    assert json.loads(tag[1]) == {"symbol": value, "interval": "60", "user": value}


@pytest.mark.parametrize("value", _HOSTILE)
def test_people_read_values_unchanged(value: str) -> None:
    """What the legend shows is what was asked for, to the character."""
    title = re.search(r'data-name="legend-source-title">(.*?)</span>', _chart(value))
    assert title is not None
    assert html.unescape(title[1]) == value


def test_the_page_names_the_library_and_its_makers() -> None:
    """TradingView's licence asks for its notice and a link on the page."""
    page = _chart("BINANCE:BTCUSDT")
    assert 'href="https://www.tradingview.com/"' in page
    assert "TradingView Lightweight Charts™" in page
    assert "TradingView, Inc." in page


def test_pages_load_nothing_from_elsewhere() -> None:
    """Every script and style comes from this site."""
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]*)"', _chart("BINANCE:BTCUSDT"))
    assert sorted(loaded) == ["/a.css", "/b.js", "/c.js", "/d.js", "data:,"]
