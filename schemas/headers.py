"""Kafka headers: CloudEvents binary mode on every topic, and the metadata of a webhook."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

import msgspec

from schemas.records import SCHEMA_VERSION

Headers = list[tuple[str, bytes]]

METADATA_BYTES: Final = 256
QUERY_BYTES: Final = 2048
_WANTED: Final[tuple[Headers, Headers]] = ([], [("captures_wanted", b"true")])
_KINDS: Final = 64
_MOMENTS: Final = 256
_SENDERS: Final = 256

WEBHOOK_TYPE: Final = "alerts.webhook"
REFUSED_TYPE: Final = "alerts.webhook.refused"
SIGNAL_TYPE: Final = "alerts.signal"
STORED_SIGNAL_TYPE: Final = "alerts.signal.stored"
CAPTURE_REQUEST_TYPE: Final = "alerts.capture.request"
CAPTURE_EVENT_TYPE: Final = "alerts.capture.event"
TENANT_TYPE: Final = "alerts.tenant"


class HeaderError(ValueError):
    """A header the contract asks for is missing or unreadable."""


class CloudEvent(msgspec.Struct, frozen=True):
    """The envelope of one record. `source` names the role that published it.

    A struct, as all that is made once per alert: several times quicker than a frozen dataclass.
    """

    id: str
    type: str
    source: str
    time: datetime
    content_type: str = "application/json"
    traceparent: str | None = None


class WebhookMetadata(msgspec.Struct, frozen=True):
    """What ingress knows of a webhook beside its bytes; audit needs it, so it is copied onto `signals`."""

    signal_id: UUID
    received_at: datetime
    client_address: str
    user_agent: str
    content_type: str
    query: str
    tenant_revision: int
    body_bytes: int
    captures_wanted: bool = False
    """Of a replay: rows that it stores first get their pictures, late as these are."""


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and `Z`."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{utc.isoformat(timespec='milliseconds')[:-6]}Z"


def event_headers(event: CloudEvent) -> Headers:
    headers = [
        *_kind_headers(event.type, event.source, event.content_type),
        ("ce_id", event.id.encode()),
        ("ce_time", _encoded_time(event.time)),
    ]
    if event.traceparent is not None:
        headers.append(("traceparent", event.traceparent.encode()))
    return headers


@lru_cache(_KINDS)
def _kind_headers(event_type: str, source: str, content_type: str) -> tuple[tuple[str, bytes], ...]:
    """What all events of a kind have in common."""
    return (
        ("ce_type", event_type.encode()),
        ("ce_source", f"/alerts/{source}".encode()),
        ("ce_specversion", b"1.0"),
        ("content-type", content_type.encode()),
        ("schema_version", str(SCHEMA_VERSION).encode()),
    )


def traceparent(trace_id: UUID, span_id: int) -> str:
    """W3C Trace Context of one alert: the trace is the signal, so every stage can be found by its id."""
    return f"00-{trace_id.int:032x}-{span_id & (2**64 - 1):016x}-01"


def alert_headers(event: CloudEvent, metadata: WebhookMetadata) -> Headers:
    """Of a record that is one alert: `event.id` is the signal's id, which is written out once."""
    headers = event_headers(event)
    headers += _webhook_headers(metadata, event.id.encode())
    return headers


def webhook_headers(metadata: WebhookMetadata) -> Headers:
    """The metadata as headers, each bounded. Carried by `webhooks.*` and, copied, by `signals`."""
    return _webhook_headers(metadata, str(metadata.signal_id).encode())


def _webhook_headers(metadata: WebhookMetadata, signal_id: bytes) -> Headers:
    return [
        *_sender_headers(metadata.client_address, metadata.user_agent, metadata.content_type),
        ("signal_id", signal_id),
        ("received_at", _encoded_time(metadata.received_at)),
        ("query", metadata.query.encode("utf-8", "replace")[:QUERY_BYTES]),
        ("tenant_revision", b"%d" % metadata.tenant_revision),
        ("body_bytes", b"%d" % metadata.body_bytes),
        *_WANTED[metadata.captures_wanted],
    ]


@lru_cache(_SENDERS)
def _sender_headers(client_address: str, user_agent: str, content_type: str) -> Headers:
    return [
        ("client_address", client_address.encode("utf-8", "replace")[:METADATA_BYTES]),
        ("user_agent", user_agent.encode("utf-8", "replace")[:METADATA_BYTES]),
        ("webhook_content_type", content_type.encode("utf-8", "replace")[:METADATA_BYTES]),
    ]


@lru_cache(_MOMENTS)
def _encoded_time(moment: datetime) -> bytes:
    return rfc3339(moment).encode()


def read_webhook_metadata(headers: Iterable[tuple[str, bytes]]) -> WebhookMetadata:
    """Raises `HeaderError` naming what is missing or unreadable."""
    values = {name: value.decode("utf-8", "replace") for name, value in headers}
    try:
        return WebhookMetadata(
            signal_id=UUID(values["signal_id"]),
            received_at=datetime.fromisoformat(values["received_at"]),
            client_address=values["client_address"],
            user_agent=values["user_agent"],
            content_type=values["webhook_content_type"],
            query=values["query"],
            tenant_revision=int(values["tenant_revision"]),
            body_bytes=int(values["body_bytes"]),
            captures_wanted=values.get("captures_wanted") == "true",
        )
    except KeyError as error:
        raise HeaderError(f"no header {error.args[0]}") from error
    except ValueError as error:
        raise HeaderError(f"unreadable header: {error}") from error
