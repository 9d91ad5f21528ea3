from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.headers import (
    METADATA_BYTES,
    QUERY_BYTES,
    CloudEvent,
    HeaderError,
    WebhookMetadata,
    event_headers,
    read_webhook_metadata,
    rfc3339,
    traceparent,
    webhook_headers,
)

SIGNAL_ID = UUID("019cebc1-2345-7000-8000-000000000001")
RECEIVED_AT = datetime(2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC)
METADATA = WebhookMetadata(
    SIGNAL_ID, RECEIVED_AT, "127.0.0.1", "agent", "text/plain", "chart=Ab3dE9xZ", 7, 42
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


def test_the_envelope_is_cloud_events_binary_mode() -> None:
    """Subscribers with a CloudEvents library read it without knowing us."""
    event = CloudEvent(str(SIGNAL_ID), "alerts.signal", "processors", RECEIVED_AT)
    assert dict(event_headers(event)) == {
        "ce_id": str(SIGNAL_ID).encode(),
        "ce_type": b"alerts.signal",
        "ce_source": b"/alerts/processors",
        "ce_time": b"2026-03-14T09:26:53.125Z",
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
        "schema_version": b"1",
    }


def test_a_trace_is_passed_on() -> None:
    """Every stage of an alert is found by the signal's id as trace id."""
    trace = traceparent(SIGNAL_ID, 2**64 + 0xABC)
    assert trace == f"00-{SIGNAL_ID.hex}-0000000000000abc-01"
    headers = event_headers(CloudEvent("id", "type", "source", RECEIVED_AT, traceparent=trace))
    assert dict(headers)["traceparent"] == trace.encode()


def test_times_are_utc_with_milliseconds() -> None:
    """Whatever zone a datetime has."""
    madrid = timezone(timedelta(hours=1))
    assert rfc3339(RECEIVED_AT.astimezone(madrid)) == "2026-03-14T09:26:53.125Z"
    assert rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


@given(address=TEXT, agent=TEXT, content_type=TEXT, query=TEXT, revision=st.integers(0, 2**63))
def test_metadata_comes_back_as_it_was(
    address: str, agent: str, content_type: str, query: str, revision: int
) -> None:
    """What fits its bound is unchanged after the journey, among any other headers."""
    sent = WebhookMetadata(SIGNAL_ID, RECEIVED_AT, address, agent, content_type, query, revision, 3)
    headers = [("ce_id", b"x"), *webhook_headers(sent), ("content-type", b"\xff")]
    assert read_webhook_metadata(headers) == sent


@example("é" * 3000)
@given(text=st.text(max_size=3000))
def test_headers_are_bounded(text: str) -> None:
    """A sender cannot make a record grow by its headers, nor break it with unpaired surrogates."""
    sent = WebhookMetadata(SIGNAL_ID, RECEIVED_AT, text, text, text, text, 1, 1)
    headers = dict(webhook_headers(sent))
    assert max(len(headers[name]) for name in ("client_address", "user_agent")) <= METADATA_BYTES == 256
    assert len(headers["webhook_content_type"]) <= METADATA_BYTES
    assert len(headers["query"]) <= QUERY_BYTES == 2048
    read = read_webhook_metadata(headers.items())
    assert (read.signal_id, read.tenant_revision) == (SIGNAL_ID, 1)


@pytest.mark.parametrize("name", [name for name, _value in webhook_headers(METADATA)])
def test_a_missing_header_is_named(name: str) -> None:
    """A record without its metadata is a dead letter that says what it lacks."""
    headers = [(other, value) for other, value in webhook_headers(METADATA) if other != name]
    with pytest.raises(HeaderError, match=f"no header {name}"):
        read_webhook_metadata(headers)


@pytest.mark.parametrize("name", ["signal_id", "received_at", "tenant_revision", "body_bytes"])
@pytest.mark.parametrize("value", [b"", b"nonsense", b"\xff"])
def test_an_unreadable_header_is_a_header_error(name: str, value: bytes) -> None:
    """Never another exception: the record is invalid, not the code."""
    with pytest.raises(HeaderError, match="unreadable"):
        read_webhook_metadata([*webhook_headers(METADATA), (name, value)])
