import json

import pytest

from schemas.records import ParseStatus, Signal, SourceFormat, Warning_
from tests.support.webhooks import parse

ALERT = '{"ticker":"OKX:A","price":1.50,"side":"buy","x":"y"}'


def read(body: str) -> tuple[object, ...]:
    signal = parse(body)
    return signal.ticker, str(signal.price), signal.direction, signal.fields, signal.source.format


@pytest.mark.parametrize(
    "body",
    [
        ALERT,
        f"\ufeff \r\n{ALERT}\n\n",
        f"\u200b{ALERT}\0",
        f"[{ALERT}]",
        f" [ {ALERT} , 5, null ] ",
        json.dumps(ALERT),
        json.dumps({"message": ALERT}),
        ALERT.replace('"', "“"),
        ALERT.replace(",", ",\n\t"),
        '{"ticker":"OKX:A","ticker":"OKX:A","price":1.50,"side":"buy","x":"y"}',
        '{"TICKER":"OKX:A","Precio":"1.50","Acción":"BUY","x":"y"}',
        '{"symbol":"\\u004fKX:A","close":"1.50","action":"\\ud83d\\udfe2","x":"y"}',
    ],
)
def test_one_object_in_many_wrappings(body: str) -> None:
    """Content type, white space, an array around it and a second encoding make no difference."""
    assert read(body) == ("OKX:A", "1.50", "long", {"x": "y"}, SourceFormat.JSON)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "+Infinity", "null"])
def test_numbers_that_are_none(token: str) -> None:
    """Tolerated, and no value."""
    signal = parse(f'{{"ticker":"OKX:A","price":{token},"rsi":{token},"side":"sell"}}')
    assert (signal.price, signal.fields, signal.direction, signal.warnings) == (
        None,
        {"rsi": None},
        "short",
        [],
    )


@pytest.mark.parametrize("body", ["42", "null", "true", '"hola"', "[]", '["a", 5]', "-1.5e3", "{}", "[[1]]"])
def test_other_json_values_are_text(body: str) -> None:
    """They are stored and shown as they came."""
    signal = parse(body)
    assert (signal.parse_status, signal.message, signal.warnings) == (ParseStatus.UNPARSED, body, [])


def test_several_alerts_are_not_taken_apart() -> None:
    """Nobody could tell whose values are the signal's."""
    signal = parse(f"[{ALERT},{ALERT}]")
    assert (signal.parse_status, signal.warnings) == (ParseStatus.UNPARSED, [Warning_.MULTIPLE_ALERTS])


@pytest.mark.parametrize(
    "body",
    [
        '{"ticker":"OKX:A" "price":"1.50"}',
        '"ticker":"OKX:A","price":1.50',
        '{"ticker":"OKX:A","price":1.50,}',
        '{"ticker":"OKX:A","price":1.50',
        '{"ticker":"OKX:A","price":1.50}}',
        '{"ticker":"OKX:A","price":1.50} gracias',
        '{"ticker":"OKX:A","qty":,"price":1.50}',
        '{"ticker":"OKX:A","price":+1.50}',
        "{“ticker”:“OKX:A”,“price”:1.50,}",
    ],
)
def test_what_is_safe_in_broken_json_is_read(body: str) -> None:
    """And the warning says that it was broken."""
    signal = parse(body)
    assert (signal.ticker, str(signal.price)) == ("OKX:A", "1.50")
    assert signal.warnings == [Warning_.MALFORMED_JSON]


@pytest.mark.parametrize(
    "body",
    [
        '{"ticker":"OKX:A","stop":{"price":5},"x" 1}',
        '{"ticker":"OKX:A","price":1,234.5}',
        '{"ticker":"OKX:A","price":"5}',
        '{"ticker":"OKX:A","price":5 USDT}',
    ],
)
def test_what_is_not_safe_is_left(body: str) -> None:
    """No part of a value is taken for the value."""
    signal = parse(body)
    assert (signal.ticker, signal.price) == ("OKX:A", None)
    assert Warning_.MALFORMED_JSON in signal.warnings


TEXT = (
    "ADX DEF\n🪙 Ticker: OKX:A\n💰 $5.5\n📈 Señal: VENTA 🔴\n⏰ 2026-03-14T09:26:53Z\n⏱ 15\n"
    "Chart: Ab3dE9xZ\nTP: 4"
)
OWN: dict[str, object] = {
    "indicator": "RSI",
    "ticker": "BYBIT:B",
    "price": 7,
    "signal_type": "COMPRA",
    "timenow": 1773480000,
    "interval": "60",
    "chart_id": "Zz9yY8xX",
    "TP": "3",
}


def facts(signal: Signal) -> dict[str, object]:
    price = None if signal.price is None else str(signal.price)
    return {
        "indicator": signal.indicator,
        "ticker": signal.ticker,
        "price": price,
        "signal_type": signal.signal_type,
        "timenow": signal.triggered_at,
        "interval": signal.interval,
        "chart_id": signal.chart_id,
        "TP": signal.fields.get("TP"),
    }


@pytest.mark.parametrize("key", OWN)
def test_the_text_fills_only_what_the_json_lacks(key: str) -> None:
    """Each field on its own; what both have is the JSON's."""
    from_text, from_json = facts(parse(TEXT)), facts(parse(json.dumps(OWN)))
    both = facts(parse(json.dumps({key: OWN[key], "message": TEXT})))
    assert both == from_text | {key: from_json[key]}


def test_secrets_are_dropped_and_masked() -> None:
    """All names in any case, in the body, in a message and in the JSON inside a message."""
    for name in (
        "user_token",
        "token",
        "secret",
        "passphrase",
        "password",
        "User_Token",
        "TOKEN",
        "userToken",
    ):
        for value in ('"abc-12345"', "12345678", '"a\\"b cde"'):
            secret = str(json.loads(value))
            for body in (
                f'{{"{name}":{value},"ticker":"OKX:A"}}',
                f'{{"{name}":{value},"ticker":"OKX:A","message":"is {json.dumps(secret)[1:-1]} ok"}}',
                json.dumps({"message": f'{{"{name}":{value},"ticker":"OKX:A"}}'}),
            ):
                signal = parse(body)
                assert (signal.ticker, signal.fields) == ("OKX:A", {})
                assert secret not in signal.message
                assert "***" in signal.message


def test_secrets_in_text_are_masked() -> None:
    """As a label, as a pair and in a link."""
    for line in ("Token: abc-12345", "SECRET=abc-12345", "ver https://x.example/?password=abc-12345&y=1"):
        signal = parse(f"Ticker: OKX:A\n{line}")
        assert "abc-12345" not in signal.message
        assert "abc-12345" not in str(signal.fields)
