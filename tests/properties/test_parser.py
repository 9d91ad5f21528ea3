"""Whatever the bytes, there is one signal, and it fits everything behind the parser."""

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode, encode
from schemas.records import ParseStatus, Signal, Warning_
from tests.support.webhooks import parse

BODY_BYTES = 256 * 1024
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
WORDS = [
    *("Ticker", "Precio", "Señal", "Señal", "hora", "time", "timenow", "chart", "message", "token", "side"),
    *(
        "🪙",
        "💰",
        "📈",
        "⏱️",
        "⏰",
        "🟢",
        "🔴",
        "1️⃣",
        "BINANCE:BTCUSDT.P",
        "TVC:US10Y-TVC:US02Y",
        "CME_MINI:ES1!",
    ),
    *(
        "COMPRA",
        "VENTA",
        "close",
        "$67,890.50",
        "1.234,5",
        "1e-7",
        "9" * 60,
        "2026-03-14T09:26:53Z",
        "1773480413000",
    ),
    *(
        "{{close}}",
        "}}",
        "={",
        '"symbol":',
        "null",
        "NaN",
        "\\ud83d",
        "\\u0000",
        "\0",
        "\u200b",
        "\u0301",
        "\u0323",
    ),
    *(
        ":",
        "=",
        ";",
        ",",
        "\n",
        "\r\n",
        " ",
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "“",
        "：",
        "\\",
        "Ã±",
        "ðŸŸ¢",
        "\ufeff",
    ),
    *("https://www.tradingview.com/chart/Ab3dE9xZ/", "ADX DEF", "secret=", "passphrase: x"),
]

alerts = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=40).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | alerts | st.text(st.characters(), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(alerts, inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        "ticker",
        "symbol",
        "price",
        "signal_type",
        "direction",
        "time",
        "timenow",
        "chart_id",
        "message",
        "token",
    ]
)
json_alerts = st.dictionaries(keys | alerts, json_values, max_size=10).map(json.dumps)
bodies = st.binary(max_size=300) | (alerts | json_alerts).map(lambda text: text.encode("utf-8", "replace"))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A body with a piece cut out, doubled or overwritten, as transports and people do."""
    body = draw(bodies)
    start, end = sorted(draw(st.tuples(st.integers(0, len(body)), st.integers(0, len(body)))))
    return body[:start] + draw(st.sampled_from([b"", body[start:end] * 2, b"\xff", b'"', b"\n"])) + body[end:]


def texts_of(signal: Signal) -> Iterator[str | None]:
    yield from (signal.indicator, signal.signal_type, signal.ticker, signal.exchange, signal.symbol)
    yield from (signal.interval, signal.chart_id, signal.message)
    yield from signal.fields
    yield from signal.fields.values()


def check(signal: Signal) -> None:
    """What every signal must be, whatever it was read from."""
    assert decode(encode(signal), Signal) == signal
    assert not any(UNSTORABLE.search(text) for text in texts_of(signal) if text)
    assert len(signal.message) <= 65_536
    assert len(signal.ticker or "") <= 256
    assert len(signal.indicator or "") <= 512
    assert len(signal.signal_type or "") <= 512
    assert len(signal.fields) <= 64
    assert all(len(key) <= 128 and len(value or "") <= 1024 for key, value in signal.fields.items())
    assert signal.warnings == [warning for warning in Warning_ if warning in signal.warnings]
    if signal.price is not None:
        assert re.fullmatch(r"-?[0-9]{1,68}(\.[0-9]{1,68})?", str(signal.price))
    expected = ParseStatus.UNPARSED if signal.ticker is None else ParseStatus.PARTIAL
    if signal.ticker and signal.price is not None and (signal.signal_type or signal.direction):
        expected = ParseStatus.PARSED
    assert signal.parse_status is expected


@given(bodies | mutated(), st.text(max_size=40) | st.just("chart=Ab3dE9xZ"))
@settings(deadline=None, max_examples=400)
def test_any_body_becomes_a_signal(body: bytes, query: str) -> None:
    """Never an exception, never a value that anything behind refuses, always the same for the same bytes."""
    signal = parse(body, query)
    check(signal)
    assert parse(body, query) == signal


@given(st.integers(-(10**12), 10**12), st.integers(0, 12))
@settings(deadline=None)
def test_prices_are_exact(digits: int, places: int) -> None:
    """As text and as a JSON number, the digits that were sent are the digits of the signal."""
    sign, absolute = ("-" if digits < 0 else ""), str(abs(digits)).rjust(places + 1, "0")
    text = f"{sign}{absolute[:-places]}.{absolute[-places:]}" if places else f"{sign}{absolute}"
    for body in (f"Precio: {text}", f'{{"price":{text}}}', f'{{"price":"$ {text}"}}'):
        assert str(parse(body).price) == (text if digits else text.lstrip("-"))


WORST = [
    *(
        "\n",
        "a\n",
        "a:\n",
        "a:b\n",
        "a=1;",
        "=",
        ":",
        ";",
        "\0",
        " ",
        "\\",
        '"',
        "'",
        "“",
        "{",
        "[",
        "[],",
        '{"a":',
    ),
    *(
        '"a":1,',
        '"a":"b"',
        "BINANCE:BTC ",
        "AB:CD-",
        "PRECIO:X ",
        "token: ",
        'token:"',
        "token:[",
        "Token: a\n",
    ),
    *(
        "🟢",
        "🪙 a\n",
        "COMPRA VENTA ",
        "\u0301\u0323",
        "a\u0301",
        "a" + "\u0301" * 15 + "\u0323" * 15,
        "Ã±",
        "漢",
    ),
    *(
        "tradingview.com/chart/a ",
        "{{",
        "}}",
        "1,",
        "1.",
        "9",
        "Ticker: ",
        "Precio: 1",
        "\\ud83d",
        "1️⃣",
        "x" * 64 + ":",
    ),
]


@pytest.mark.parametrize("piece", WORST)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("Ticker: ", ""),
        ("Precio: ", ""),
        ('{"message":"', '"}'),
        ('{"price":[', "0]}"),
        ('{"a":', "}"),
    ],
)
def test_the_largest_bodies_are_read(piece: str, before: str, after: str) -> None:
    """256 KiB of anything: with a quadratic rule this test would not end."""
    room = BODY_BYTES - len(before.encode()) - len(after.encode())
    body = before + piece * (room // len(piece.encode())) + after
    check(parse(body))


def test_long_runs_of_marks_are_read() -> None:
    """The one input that Python's own normalization takes quadratic time for."""
    check(parse("Señal: " + "\u0301" * 65_000 + "\u0323" * 65_000))
