import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from schemas.codec import RecordDecodeError, decode, encode
from schemas.plans import Plan
from schemas.records import ExactDecimal, ParseStatus, Record, Signal, Source, SourceFormat, Tenant

SIGNAL = Signal(
    signal_id=UUID("019cebc1-2345-7000-8000-000000000001"),
    user_id=UUID("019cebc1-0000-7000-8000-00000000000a"),
    plan=Plan.PRO,
    received_at=datetime(2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC),
    indicator=None,
    signal_type="Cruce 🔴",
    direction=None,
    ticker="BINANCE:BTCUSDT",
    exchange="BINANCE",
    symbol="BTCUSDT",
    delayed=False,
    price=ExactDecimal("1E-8"),
    interval=None,
    bar_time=None,
    triggered_at=None,
    chart_id=None,
    fields={"TP": None},
    message="línea",
    parse_status=ParseStatus.PARSED,
    warnings=[],
    source=Source(format=SourceFormat.JSON, indicator_file=None, parse_revision=1),
)
TENANT = {
    "user_id": "019cebc1-0000-7000-8000-00000000000a",
    "revision": 7,
    "plan": "pro",
    "token_hashes": ["ab"],
    "webhook_enabled": True,
    "captures_enabled": False,
}


def test_the_form_on_the_wire() -> None:
    """Decimals are digits in a string, times RFC 3339 with `Z`, absent values `null`."""
    wire = json.loads(encode(SIGNAL))
    assert wire["price"] == "0.00000001"
    assert wire["received_at"] == "2026-03-14T09:26:53.125000Z"
    assert (wire["indicator"], wire["fields"]) == (None, {"TP": None})
    assert set(wire) == {field.name for field in msgspec.structs.fields(Signal)}


def test_a_newer_writers_fields_are_ignored() -> None:
    """Inside a version fields are only added, so an old reader reads on."""
    wire = {**TENANT, "new_field": {"deep": [1, 2, {"x": None}]}}
    tenant = decode(json.dumps(wire).encode(), Tenant)
    assert (tenant.revision, tenant.deleted, tenant.default_chart_id) == (7, False, None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (b"null", "Expected `object`"),
        (b"{", "truncated"),
        (json.dumps({**TENANT, "plan": "gold"}).encode(), r"\$\.plan"),
        (json.dumps({**TENANT, "token_hashes": ["X"]}).encode().replace(b"X", b"\xff"), "utf-8"),
        (json.dumps({**TENANT, "token_hashes": [1]}).encode(), r"\$\.token_hashes\[0\]"),
        (json.dumps({key: TENANT[key] for key in TENANT if key != "revision"}).encode(), "revision"),
        (b'{"new_field":' + b"[" * 100_000, "recursion"),
    ],
    ids=["empty", "null", "cut", "enum", "no text", "item", "missing", "deep"],
)
def test_what_is_no_record_says_why(data: bytes, message: str) -> None:
    """One kind of error, with the path of the first field that does not fit."""
    with pytest.raises(RecordDecodeError, match=message):
        decode(data, Tenant)


@pytest.mark.parametrize("price", ['"12,5"', '"abc"', "12.5", "true", "[]"])
def test_a_price_is_a_decimal_string_or_nothing(price: str) -> None:
    """A JSON number would have gone through a float somewhere."""
    data = encode(SIGNAL).replace(b'"0.00000001"', price.encode())
    with pytest.raises(RecordDecodeError):
        decode(data, Signal)


class Odd(Record, frozen=True):
    """Holds what no record may hold."""

    number: complex


def test_a_foreign_type_does_not_travel() -> None:
    """It is refused on the way out, a programming error, and on the way in, instead of becoming its repr."""
    with pytest.raises(TypeError, match="must not hold a complex"):
        encode(Odd(number=1j))
    with pytest.raises(RecordDecodeError, match="must not hold a complex"):
        decode(b'{"number":"1"}', Odd)
