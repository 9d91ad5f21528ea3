"""Records survive the wire, and anything else is refused in one way."""

from contextlib import suppress
from datetime import UTC
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import RecordDecodeError, decode, encode
from schemas.plans import Plan
from schemas.records import (
    CaptureEvent,
    CaptureEventKind,
    CaptureRequest,
    Direction,
    Disposition,
    ExactDecimal,
    Lane,
    ParseStatus,
    Picture,
    Record,
    Signal,
    Source,
    SourceFormat,
    StoredSignal,
    Tenant,
    Warning_,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
MAYBE_TEXT = st.none() | TEXT
MOMENTS = st.datetimes(timezones=st.just(UTC))
COUNTS = st.integers(0, 2**53)
PLANS = st.sampled_from(Plan)
# 38 digits and exponents to ±30 are what a price may have
PRICES = st.builds(
    lambda digits, exponent: ExactDecimal(Decimal(digits).scaleb(exponent)),
    st.integers(-(10**28) + 1, 10**28 - 1),
    st.integers(-30, 30),
)

SIGNALS = st.builds(
    Signal,
    signal_id=st.uuids(),
    user_id=st.uuids(),
    plan=PLANS,
    received_at=MOMENTS,
    indicator=MAYBE_TEXT,
    signal_type=MAYBE_TEXT,
    direction=st.none() | st.sampled_from(Direction),
    ticker=MAYBE_TEXT,
    exchange=MAYBE_TEXT,
    symbol=MAYBE_TEXT,
    delayed=st.booleans(),
    price=st.none() | PRICES,
    interval=MAYBE_TEXT,
    bar_time=st.none() | MOMENTS,
    triggered_at=st.none() | MOMENTS,
    chart_id=MAYBE_TEXT,
    fields=st.dictionaries(TEXT, MAYBE_TEXT, max_size=4),
    message=TEXT,
    parse_status=st.sampled_from(ParseStatus),
    warnings=st.lists(st.sampled_from(Warning_), max_size=4),
    source=st.builds(
        Source,
        format=st.sampled_from(SourceFormat),
        indicator_file=MAYBE_TEXT,
        parse_revision=COUNTS,
    ),
    lane=st.sampled_from(Lane),
    replay_id=st.none() | st.uuids(),
)
REQUESTS = st.builds(
    CaptureRequest,
    signal_id=st.uuids(),
    user_id=st.uuids(),
    plan=PLANS,
    request_no=COUNTS,
    received_at=MOMENTS,
    capture_by=MOMENTS,
    chart_id=TEXT,
    ticker=TEXT,
    interval=MAYBE_TEXT,
)
EVENTS = st.builds(
    CaptureEvent,
    kind=st.sampled_from(CaptureEventKind),
    signal_ids=st.lists(st.uuids(), max_size=3),
    user_id=st.uuids(),
    plan=PLANS,
    request_no=COUNTS,
    occurred_at=MOMENTS,
    tries=COUNTS,
    fence=COUNTS,
    session_version=st.none() | COUNTS,
    reason=MAYBE_TEXT,
    warning=MAYBE_TEXT,
    picture=st.none()
    | st.builds(Picture, key=TEXT, size_bytes=COUNTS, width_px=COUNTS, height_px=COUNTS, captured_at=MOMENTS),
    timings_ms=st.dictionaries(TEXT, COUNTS, max_size=3),
)
STORED = st.builds(
    StoredSignal,
    signal_id=st.uuids(),
    user_id=st.uuids(),
    disposition=st.sampled_from(Disposition),
    sequence=COUNTS,
)
TENANTS = st.builds(
    Tenant,
    user_id=st.uuids(),
    revision=COUNTS,
    plan=PLANS,
    token_hashes=st.lists(TEXT, max_size=3),
    webhook_enabled=st.booleans(),
    captures_enabled=st.booleans(),
    default_chart_id=MAYBE_TEXT,
    deleted=st.booleans(),
)
RECORDS = st.one_of(SIGNALS, REQUESTS, EVENTS, STORED, TENANTS)


@given(record=RECORDS)
def test_a_record_survives_the_wire(record: Record) -> None:
    """What is read is what was written, in every field, and writing it again gives the same bytes."""
    data = encode(record)
    again = decode(data, type(record))
    assert again == record
    assert encode(again) == data


@given(signal=SIGNALS.filter(lambda signal: signal.price is not None))
def test_a_price_keeps_its_digits(signal: Signal) -> None:
    """Not only its value: `1.50` stays `1.50`, and no exponent is ever written."""
    assert signal.price is not None
    written = f'"price":"{signal.price}"'.encode()
    assert written in encode(signal)
    assert b"E" not in written
    again = decode(encode(signal), Signal).price
    assert isinstance(again, ExactDecimal)
    assert again.as_tuple() == Decimal(str(signal.price)).as_tuple()


@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_one_way(data: bytes) -> None:
    """Whatever is on a topic, reading it raises `RecordDecodeError` and nothing else."""
    with pytest.raises(RecordDecodeError):
        decode(data, Tenant)


@given(record=TENANTS, position=st.integers(0, 400), replacement=st.binary(max_size=3))
def test_damaged_records_are_read_or_refused(record: Tenant, position: int, replacement: bytes) -> None:
    """A damaged record is a record again or a `RecordDecodeError`, never another exception."""
    data = encode(record)
    with suppress(RecordDecodeError):
        decode(data[:position] + replacement + data[position + 1 :], Tenant)
