"""Whatever the bytes, there is one signal, and it fits everything behind the parser."""

import gc
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.directions import read_direction
from processors.numbers import read_number
from processors.symbols import read_ticker
from processors.times import read_time
from schemas.codec import decode, encode
from schemas.records import ParseStatus, Signal, Warning_
from tests.support.webhooks import BODY_BYTES, FRAMES, PIECES, parse, repeated, vocabulary

NOTICEABLE_NS = 20_000_000
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


def test_long_runs_of_marks_are_read() -> None:
    """The one input that Python's own normalization takes quadratic time for."""
    check(parse("Señal: " + "\u0301" * 65_000 + "\u0323" * 65_000))


MESSAGES = [
    json.loads(line).get("body", "").encode()
    for line in (Path(__file__).parents[1] / "unit/processors/cases.jsonl").read_text("utf-8").splitlines()
]
SPLICES = [
    *(b"", b"\0", b"\xff", b"\xed\xa0\xbd", b'"', b"\\", b"\\ud83d", b"\\u0000", b"\n", b";", b"="),
    *(b"{", b"[", b"]}", b"NaN", b"-", b"9" * 50, b"e9999", b"\xef\xbb\xbf", b"{{", b"}}"),
    *("🟢🔴".encode(), "\u202e\u200b".encode()),
]


def distorted(chance: random.Random) -> bytes:
    """A real message, or two joined, or noise, with a few cuts, copies, flips and splices."""
    body = bytearray(chance.choice(MESSAGES) if chance.random() < 0.9 else chance.randbytes(200))
    if chance.random() < 0.2:
        body += chance.choice(MESSAGES)
    for _ in range(chance.randrange(6)):
        start = chance.randrange(len(body) + 1)
        end = min(len(body), start + chance.randrange(12))
        choices = [chance.choice(SPLICES), bytes(body[start:end]) * 3, chance.randbytes(1), bytes(body[:20])]
        body[start : chance.choice((start, end))] = chance.choice(choices)
    return bytes(body)


@pytest.mark.parametrize("seed", range(8))
def test_distorted_messages_become_signals(seed: int) -> None:
    """A seeded run over everything people send, broken in ways nobody thought of."""
    chance = random.Random(seed)
    for _ in range(400):
        body, query = distorted(chance), chance.choice(("", "chart=Ab3dE9xZ", "chart=%ff&chart"))
        signal = parse(body, query)
        check(signal)
        assert parse(body, query) == signal


def cpu_ns(body: bytes, tries: int) -> int:
    """The least CPU time of a few tries: other work on the machine only ever adds to it."""
    spent = []
    gc.disable()  # it would look through all that other tests have left behind
    try:
        for _ in range(tries):
            start_ns = time.process_time_ns()
            parse(body)
            spent.append(time.process_time_ns() - start_ns)
    finally:
        gc.enable()
    return min(spent)


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_the_largest_bodies_take_linear_time(piece: str) -> None:
    """256 KiB of anything take about eight times as long as 32 KiB, not 64 times as a quadratic rule."""
    for frame in FRAMES:
        body = repeated(piece, frame)
        check(parse(body))
        if cpu_ns(body, 1) > NOTICEABLE_NS:
            small = repeated(piece, frame, BODY_BYTES // 8)
            assert cpu_ns(body, 2) < 24 * max(cpu_ns(small, 3), NOTICEABLE_NS // 16)


plain_values = st.text(
    st.sampled_from("0123456789.,$€-+ eE'\u00a0") | st.sampled_from('TZ:UWUSDNa%/_!BINCE&{}"=🟢'), max_size=24
)


@given(plain_values)
@settings(deadline=None, max_examples=400)
def test_common_forms_are_read_like_all_others(text: str) -> None:
    """The short ways for common values lead where the long ones do: an invisible character forces those."""
    currencies = vocabulary().currencies
    assert read_number(text, currencies) == read_number(f"\u200b{text}", currencies)
    assert read_time(text) == read_time(f"\u200b{text}")
    assert read_ticker(text) == read_ticker(" " * 300 + text)
    assert (
        read_direction([], [text], vocabulary()).value
        == read_direction([], [text, " " * 300], vocabulary()).value
    )
