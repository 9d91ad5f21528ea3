from itertools import pairwise

import pytest

from deploy.local.chart.interval import interval_or_default
from deploy.local.chart.market import Market, symbol_exists

_NOW_MS = 1_767_607_265_123
_HOUR_MS = 3_600_000


def _market(symbol: str = "BINANCE:BTCUSDT", code: str = "60") -> Market:
    return Market(symbol, interval_or_default(code))


def test_the_same_question_has_the_same_answer() -> None:
    """Candles depend on symbol, interval and time only."""
    assert _market().bars(_NOW_MS, 300) == _market().bars(_NOW_MS, 300)


def test_history_does_not_change_with_the_clock() -> None:
    """An hour later all finished bars are the same, moved by one."""
    before, after = _market().bars(_NOW_MS, 300), _market().bars(_NOW_MS + _HOUR_MS, 300)
    assert before[1:-1] == after[:-2]


def test_history_does_not_depend_on_how_much_is_asked() -> None:
    """A short answer is the end of a long one."""
    assert _market().bars(_NOW_MS, 300)[-5:] == _market().bars(_NOW_MS, 5)


@pytest.mark.parametrize("other", [("BINANCE:ETHUSDT", "60"), ("BINANCE:BTCUSDT", "15")])
def test_other_symbols_and_intervals_show_other_candles(other: tuple[str, str]) -> None:
    """Two charts are not mistaken for each other."""
    closes = [bar.close for bar in _market().bars(_NOW_MS, 50)]
    assert closes != [bar.close for bar in _market(*other).bars(_NOW_MS, 50)]


@pytest.mark.parametrize("symbol", ["BINANCE:BTCUSDT", "NASDAQ:AAPL", "CME_MINI:ES1!", "A:B", "NSE:M&M"])
@pytest.mark.parametrize("code", ["1S", "1", "60", "D", "W", "12M"])
def test_candles_are_well_formed(symbol: str, code: str) -> None:
    """Each starts where the last one ended, in time and in price; its body lies within its wicks."""
    bars = _market(symbol, code).bars(_NOW_MS, 300)
    for last, bar in pairwise(bars):
        assert bar.start_ms > last.start_ms
        assert bar.open == last.close
    for bar in bars:
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.volume > 0


def test_the_market_moves() -> None:
    """Candles of both directions, and a range worth looking at."""
    bars = _market().bars(_NOW_MS, 300)
    assert {bar.close > bar.open for bar in bars} == {True, False}
    assert max(bar.high for bar in bars) > 1.02 * min(bar.low for bar in bars)


def test_the_last_candle_moves_within_its_time() -> None:
    """A quarter of a second later the forming bar has another close, at the same start."""
    now, later = _market().forming(_NOW_MS), _market().forming(_NOW_MS + 250)
    assert now.start_ms == later.start_ms
    assert now.close != later.close
    assert _market().bars(_NOW_MS, 3)[-1] == now


@pytest.mark.parametrize("number", range(20))
def test_prices_have_digits_enough(number: int) -> None:
    """Whatever a symbol costs, its candles are more than a handful of rounding steps high."""
    market = _market(f"X:S{number}")
    bars = market.bars(_NOW_MS, 300)
    step = 10.0**-market.decimals
    assert max(bar.high for bar in bars) - min(bar.low for bar in bars) > 50 * step


@pytest.mark.parametrize(
    "symbol",
    [
        "BINANCE:BTCUSDT",
        "BINANCE:1000PEPEUSDT.P",
        "CME_MINI:ES1!",
        "NSE:M&M",
        "BINANCE:BTCUSDT/BINANCE:ETHUSDT",
        "TVC:US10Y-TVC:US02Y",
        '={"adjustment":"splits","session":"regular","symbol":"BATS:AAPL"}',
        "x" * 256,
    ],
)
def test_well_formed_symbols_exist(symbol: str) -> None:
    """Nothing has to be registered before it can be charted."""
    assert symbol_exists(symbol)


@pytest.mark.parametrize("symbol", ["", "UNKNOWN:BTCUSDT", "A B", "<script>", "x" * 257, "A\n", "A;B"])
def test_other_symbols_do_not(symbol: str) -> None:
    """Neither malformed ones nor those of the exchange that is there to be unknown."""
    assert not symbol_exists(symbol)
