from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.chart import ChartView, Origin, interval_code, view_of
from runtime.errors import InvalidError
from tests.support.capture_parts import capture_request

ORIGIN = Origin.parse("https://www.tradingview.com")


@given(st.text(min_size=1, max_size=256).filter(lambda text: text.isprintable() and not text.isspace()))
def test_a_ticker_cannot_change_the_address(ticker: str) -> None:
    """Whatever it holds, it arrives as the symbol and nothing else moves."""
    view = view_of(capture_request(1, chart_id="Ab3dE9xZ", ticker=ticker, interval="15"))
    parts = urlsplit(view.url(ORIGIN))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "www.tradingview.com", "/chart/Ab3dE9xZ/")
    assert parse_qs(parts.query, strict_parsing=True) == {"symbol": [ticker], "interval": ["15"]}
    assert parts.fragment == ""


def test_without_an_interval_the_layout_decides() -> None:
    """The parameter is left out, not sent empty."""
    assert (
        ChartView("abcd", "X:Y", None).url(ORIGIN) == "https://www.tradingview.com/chart/abcd/?symbol=X%3AY"
    )


@pytest.mark.parametrize("chart_id", ["", "abc", "a/../b", "abcd?x", "x" * 33, "ábcd1234", "abcd\n"])
def test_a_chart_id_is_letters_and_digits(chart_id: str) -> None:
    """Nothing else gets into the path."""
    with pytest.raises(InvalidError, match="invalid_chart"):
        view_of(capture_request(1, chart_id=chart_id))


@pytest.mark.parametrize("ticker", ["", " ", "A\nB", "A\x00", "x" * 257])
def test_a_ticker_is_short_and_printable(ticker: str) -> None:
    """An address with control characters is never made."""
    with pytest.raises(InvalidError, match="invalid_ticker"):
        view_of(capture_request(1, ticker=ticker))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("5", "5"),
        ("15m", "15"),
        ("30 min", "30"),
        ("1h", "60"),
        ("4H", "240"),
        ("D", "1D"),
        ("1d", "1D"),
        ("2W", "2W"),
        ("w", "1W"),
        ("M", "1M"),
        ("3M", "3M"),  # TradingView's own code: months
        ("1mo", "1M"),
        ("10S", "10S"),
        (" 45 ", "45"),
        (None, None),
        ("", None),
        ("0", None),
        ("soon", None),
        ("4 hours", "240"),
        ("2 weeks", "2W"),
        ("45 secs", "45S"),
        ("1440", "1440"),
        ("1441", None),  # the site would show its own
        ("25h", None),
        ("13M", None),
        ("5&chart=x", None),
    ],
)
def test_intervals_are_read_as_people_write_them(text: str | None, code: str | None) -> None:
    """An unreadable one counts as none."""
    assert interval_code(text) == code


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("https://www.tradingview.com", "www.tradingview.com:443"),
        ("https://www.tradingview.com/", "www.tradingview.com:443"),
        ("http://127.0.0.1:8090", "127.0.0.1:8090"),
        ("http://localhost:8090", "localhost:8090"),
        ("http://[::1]:8090", "[::1]:8090"),
    ],
)
def test_an_origin_has_a_host_and_a_port(text: str, authority: str) -> None:
    """It reads back as it was written, without the slash."""
    origin = Origin.parse(text)
    assert origin.authority == authority
    assert str(origin) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "www.tradingview.com",
        "ftp://a.b",
        "https://",
        "https://a.b/chart",
        "https://a.b?x=1",
        "https://me@a.b",
        "https://a.b:99999",
        "http://www.tradingview.com",  # cookies would travel in clear
        "http://10.0.0.1:8090",
    ],
)
def test_what_is_no_safe_origin_is_refused(text: str) -> None:
    """Cookies go nowhere but to https, or to this machine."""
    with pytest.raises(InvalidError, match="invalid_origin"):
        Origin.parse(text)
