import pytest

from processors.symbols import MAX_TICKER, find_ticker, read_exchange, read_ticker
from schemas.records import Warning_
from tests.support.webhooks import vocabulary

WRAPPED = '={"adjustment":"splits","session":"extended","symbol":"%s"}'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("BINANCE:BTCUSDT.P", ("BINANCE:BTCUSDT.P", "BINANCE", "BTCUSDT.P", False)),
        ("cme_mini:es1!", ("CME_MINI:ES1!", "CME_MINI", "ES1!", False)),
        ("NSE:M&M", ("NSE:M&M", "NSE", "M&M", False)),
        ("NSE:M_M", ("NSE:M_M", "NSE", "M_M", False)),
        ("NSE:BAJAJ-AUTO", ("NSE:BAJAJ-AUTO", "NSE", "BAJAJ-AUTO", False)),
        ("1000PEPEUSDT.P", ("1000PEPEUSDT.P", None, "1000PEPEUSDT.P", False)),
        ("BTC/USDT", ("BTC/USDT", None, "BTC/USDT", False)),
        ("TSE:7203", ("TSE:7203", "TSE", "7203", False)),
        ("NYMEX_DL:CL1!", ("NYMEX_DL:CL1!", "NYMEX", "CL1!", True)),
        ("BATS_DLY:AAPL", ("BATS_DLY:AAPL", "BATS", "AAPL", True)),
        ("MODLY:AAPL", ("MODLY:AAPL", "MODLY", "AAPL", False)),
        ("“BINANCE：BTCUSDT”", ("BINANCE:BTCUSDT", "BINANCE", "BTCUSDT", False)),
        ("\u200bOKX:SUIUSDT\u2069 🟢", ("OKX:SUIUSDT", "OKX", "SUIUSDT", False)),
        (WRAPPED % "BATS:AAPL", ("BATS:AAPL", "BATS", "AAPL", False)),
        (WRAPPED % "NYSE_DLY:IBM", ("NYSE_DLY:IBM", "NYSE", "IBM", True)),
        ('={"symbol":{"symbol":"OKX:BTCUSDT"}}', ("OKX:BTCUSDT", "OKX", "BTCUSDT", False)),
        ('={"symbol":"={\\"symbol\\":\\"OKX:BTCUSDT\\"}"}', ("OKX:BTCUSDT", "OKX", "BTCUSDT", False)),
    ],
)
def test_a_ticker_is_taken_apart(text: str, parts: tuple[str | bool | None, ...]) -> None:
    """TradingView's name stays, its prefix gives the exchange without the mark of delayed data."""
    ticker = read_ticker(text).value
    assert ticker is not None
    assert (ticker.name, ticker.exchange, ticker.symbol, ticker.delayed) == parts


@pytest.mark.parametrize(
    "name",
    [
        "BINANCE:BTCUSDT/BINANCE:ETHUSDT",
        "TVC:US10Y-TVC:US02Y",
        "1/OKX:BTCUSDT",
        "OANDA:XAUUSD*2",
        "(BINANCE:BTCUSDT+BYBIT:BTCUSDT)/2",
        "A:B-A:C+A:D",
        "CME_MINI:ES1!-CME_MINI:ES2!",
        "BTCUSDT/OKX:ETHUSDT",
    ],
)
def test_a_spread_is_one_symbol(name: str) -> None:
    """It has no exchange, whatever its legs are; spaces around operators go."""
    for text in (name, name.lower(), WRAPPED % name, name.replace("/", " / ")):
        ticker = read_ticker(text).value
        assert ticker is not None
        assert (ticker.name, ticker.exchange, ticker.symbol) == (name, None, name)


@pytest.mark.parametrize(
    "text",
    [
        "hola mundo",
        "BINANCE:",
        ":BTC",
        "BINANCE::BTC",
        "$BTC",
        "BTCUSDT (Binance)",
        "ñ:BTC",
        "A:B-",
        "123:ABC",
        "a" * (MAX_TICKER + 1),
        "(A:B",
        '={"symbol":5}',
        "={",
        "BINANCE : BTCUSDT",
        "A;B",
        "🟢",
    ],
)
def test_what_is_no_ticker_is_told(text: str) -> None:
    """Nothing is cut out of it."""
    outcome = read_ticker(text)
    assert (outcome.value, outcome.warning) == (None, Warning_.INVALID_TICKER)


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["mira OKX:SUIUSDT.P ya"], "OKX:SUIUSDT.P"),
        (["(okx:btcusdt),"], "OKX:BTCUSDT"),
        (["nada", "PRECIO:ALTO y BINANCE:ETHUSDT."], "BINANCE:ETHUSDT"),
        (["CME_MINI:ES1! sube"], "CME_MINI:ES1!"),
        (["¡BINANCE:BTCUSDT!"], "BINANCE:BTCUSDT"),
        (["BINANCE:BTCUSDT/BINANCE:ETHUSDT baja"], "BINANCE:BTCUSDT/BINANCE:ETHUSDT"),
        (["12:30 https://x.example:80/ 2026:03"], None),
        (["Señal:OKX"], None),
        ([], None),
    ],
)
def test_running_text_names_a_market_and_its_symbol(texts: list[str], name: str | None) -> None:
    """The first one whose prefix has a letter and is no label."""
    ticker = find_ticker(texts, vocabulary())
    assert (ticker and ticker.name) == name


@pytest.mark.parametrize(
    ("text", "exchange"),
    [
        ("BINANCE", ("BINANCE", False)),
        ("nasdaq", ("NASDAQ", False)),
        ("BATS_DLY", ("BATS", True)),
        ("nymex_dl", ("NYMEX", True)),
        ("X" * 65, (None, False)),
        ("", (None, False)),
    ],
)
def test_an_exchange_of_its_own_field(text: str, exchange: tuple[str | None, bool]) -> None:
    """In capitals, without the mark of delayed data."""
    assert read_exchange(text) == exchange
