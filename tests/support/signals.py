"""Signals and capture events as the sink gets them."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from msgspec import structs

from runtime.clock import SystemClock
from runtime.ids import SignalIds, received_at_of
from runtime.streams.record import StreamRecord, TopicPartition
from schemas.codec import encode
from schemas.headers import WebhookMetadata, webhook_headers
from schemas.plans import Plan
from schemas.records import (
    CaptureEvent,
    CaptureEventKind,
    Direction,
    ExactDecimal,
    ParseStatus,
    Record,
    Signal,
    Source,
    SourceFormat,
)
from sinks.store import AcceptedSignal
from tests.support.tenants import Customer

_IDS: Final = SignalIds(SystemClock())
_PLACE: Final = TopicPartition("signals", 0)


def new_signal(customer: Customer, **changes: object) -> Signal:
    """An alert of this customer; see `signal_of`."""
    return signal_of(customer.tenant.user_id, **{"plan": customer.tenant.plan, **changes})


def signal_of(user_id: UUID, **changes: object) -> Signal:
    """A well-understood alert received now, with a chart to capture. Another id brings another time."""
    signal_id = changes.pop("signal_id", None) or _IDS.mint()
    values = {
        "signal_id": signal_id,
        "user_id": user_id,
        "plan": Plan.PREMIUM,
        "received_at": received_at_of(signal_id),  # type: ignore[arg-type]  # from a table of overrides
        "indicator": "ADX DEF",
        "signal_type": "Cruce",
        "direction": Direction.LONG,
        "ticker": "BINANCE:BTCUSDT",
        "exchange": "BINANCE",
        "symbol": "BTCUSDT",
        "delayed": False,
        "price": ExactDecimal("67890.5"),
        "interval": "15",
        "bar_time": None,
        "triggered_at": None,
        "chart_id": "Ab3dE9xZ",
        "fields": {},
        "message": "alert",
        "parse_status": ParseStatus.PARSED,
        "warnings": [],
        "source": Source(format=SourceFormat.JSON, indicator_file=None, parse_revision=1),
        **changes,
    }
    return Signal(**values)  # type: ignore[arg-type]  # from a table of overrides


def metadata_of(signal: Signal) -> WebhookMetadata:
    return WebhookMetadata(
        signal.signal_id, signal.received_at, "127.0.0.1", "agent", "text/plain", "", 1, len(signal.message)
    )


def signal_record(signal: Signal) -> StreamRecord:
    """The signal as it comes from its topic."""
    headers = tuple(webhook_headers(metadata_of(signal)))
    return StreamRecord(_PLACE, 0, 1, 0, str(signal.user_id).encode(), encode(signal), headers)


def accepted_signal(signal: Signal, **call: object) -> AcceptedSignal:
    """The signal as the store takes it."""
    return AcceptedSignal(signal, encode(signal), structs.replace(metadata_of(signal), **call))


def plain_record(record: Record) -> StreamRecord:
    """A record without headers."""
    return StreamRecord(_PLACE, 0, 1, 0, b"key", encode(record))


def new_event(signal: Signal, kind: CaptureEventKind, **changes: object) -> CaptureEvent:
    """What a worker reports of the first request for this signal."""
    values = {
        "kind": kind,
        "signal_ids": [signal.signal_id],
        "user_id": signal.user_id,
        "plan": signal.plan,
        "request_no": 1,
        "occurred_at": signal.received_at + timedelta(seconds=1),
        "tries": 1,
        "fence": 1,
        **changes,
    }
    return CaptureEvent(**values)  # type: ignore[arg-type]  # from a table of overrides
