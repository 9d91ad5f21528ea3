"""Kafka headers: CloudEvents binary mode on every topic, and the metadata of a webhook."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from schemas.records import SCHEMA_VERSION

Headers = list[tuple[str, bytes]]

METADATA_BYTES: Final = 256
QUERY_BYTES: Final = 2048

WEBHOOK_TYPE: Final = "alerts.webhook"
REFUSED_TYPE: Final = "alerts.webhook.refused"
SIGNAL_TYPE: Final = "alerts.signal"
STORED_SIGNAL_TYPE: Final = "alerts.signal.stored"
CAPTURE_REQUEST_TYPE: Final = "alerts.capture.request"
CAPTURE_EVENT_TYPE: Final = "alerts.capture.event"
TENANT_TYPE: Final = "alerts.tenant"


class HeaderError(ValueError):
    """A header the contract asks for is missing or unreadable."""


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """The envelope of one record. `source` names the role that published it."""

    id: str
    type: str
    source: str
    time: datetime
    content_type: str = "application/json"
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookMetadata:
    """What ingress knows of a webhook beside its bytes; audit needs it, so it is copied onto `signals`."""

    signal_id: UUID
    received_at: datetime
    client_address: str
    user_agent: str
    content_type: str
    query: str
    tenant_revision: int
    body_bytes: int


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_headers(event: CloudEvent) -> Headers:
    headers = [
        ("ce_id", event.id.encode()),
        ("ce_type", event.type.encode()),
        ("ce_source", f"/alerts/{event.source}".encode()),
        ("ce_time", rfc3339(event.time).encode()),
        ("ce_specversion", b"1.0"),
        ("content-type", event.content_type.encode()),
        ("schema_version", str(SCHEMA_VERSION).encode()),
    ]
    if event.traceparent is not None:
        headers.append(("traceparent", event.traceparent.encode()))
    return headers


def traceparent(trace_id: UUID, span_id: int) -> str:
    """W3C Trace Context of one alert: the trace is the signal, so every stage can be found by its id."""
    return f"00-{trace_id.hex}-{span_id & (2**64 - 1):016x}-01"


def webhook_headers(metadata: WebhookMetadata) -> Headers:
    """The metadata as headers, each bounded. Carried by `webhooks.*` and, copied, by `signals`."""
    bounded = {
        "client_address": metadata.client_address,
        "user_agent": metadata.user_agent,
        "webhook_content_type": metadata.content_type,
    }
    headers = [(name, value.encode("utf-8", "replace")[:METADATA_BYTES]) for name, value in bounded.items()]
    return [
        *headers,
        ("signal_id", str(metadata.signal_id).encode()),
        ("received_at", rfc3339(metadata.received_at).encode()),
        ("query", metadata.query.encode("utf-8", "replace")[:QUERY_BYTES]),
        ("tenant_revision", str(metadata.tenant_revision).encode()),
        ("body_bytes", str(metadata.body_bytes).encode()),
    ]


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
        )
    except KeyError as error:
        raise HeaderError(f"no header {error.args[0]}") from error
    except ValueError as error:
        raise HeaderError(f"unreadable header: {error}") from error
