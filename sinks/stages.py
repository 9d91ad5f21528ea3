"""The work of the sink: signals and capture events, batch by batch."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from runtime.clock import Clock, utc_now
from runtime.errors import InvalidError
from runtime.metrics import Metrics
from runtime.publisher import Message, Publisher
from runtime.streams.record import StreamRecord
from schemas.codec import RecordDecodeError, RecordT, decode, encode
from schemas.headers import (
    CAPTURE_REQUEST_TYPE,
    STORED_SIGNAL_TYPE,
    CloudEvent,
    HeaderError,
    event_headers,
    read_webhook_metadata,
    traceparent,
)
from schemas.plans import Plan
from schemas.records import (
    CaptureEvent,
    CaptureRequest,
    Disposition,
    Record,
    ScreenshotStatus,
    Signal,
    StoredSignal,
)
from schemas.topics import CAPTURES, SIGNALS_STORED
from sinks.store import AcceptedSignal, SignalStore

SIGNALS_STAGE: Final = "sink"
EVENTS_STAGE: Final = "sink-events"


@dataclass(frozen=True, slots=True)
class SignalStage:
    """Stores signals, then asks for their captures and announces them.

    The order makes a crash at any point repeat and never skip: the records are acknowledged last, and a
    record that comes again asks again for every row that is still pending.
    """

    store: SignalStore
    publisher: Publisher
    metrics: Metrics
    clock: Clock

    async def work(self, records: Sequence[StreamRecord]) -> None:
        accepted = [_accepted(record) for record in records]
        inserted = await self.store.insert(accepted)
        self.metrics.signals_stored.labels("inserted").inc(inserted)
        self.metrics.signals_stored.labels("repeated").inc(len(accepted) - inserted)
        rows = await self.store.stored([signal.signal_id for signal, _metadata in accepted])
        pending = [row for row in rows if _wants_capture(row)]
        await self.publisher.publish([self._request(row) for row in pending])
        await self.publisher.publish([self._announcement(row) for row in rows])
        await self.store.mark_captures_requested([row["id"] for row in pending])

    def _request(self, row: Any) -> Message:
        plan = Plan(row["plan"])
        request = CaptureRequest(
            signal_id=row["id"],
            user_id=row["user_id"],
            plan=plan,
            request_no=row["capture_request_no"],
            received_at=row["timestamp"],
            capture_by=row["capture_by"],
            chart_id=row["chart_id"],
            ticker=row["ticker"],
            interval=row["interval"],
        )
        return self._message(CAPTURES[plan].name, CAPTURE_REQUEST_TYPE, row, request)

    def _announcement(self, row: Any) -> Message:
        stored = StoredSignal(
            signal_id=row["id"],
            user_id=row["user_id"],
            disposition=Disposition(row["disposition"]),
            sequence=row["sequence"],
        )
        return self._message(SIGNALS_STORED.name, STORED_SIGNAL_TYPE, row, stored)

    def _message(self, topic: str, kind: str, row: Any, record: Record) -> Message:
        signal_id: UUID = row["id"]
        event = CloudEvent(
            id=str(signal_id),
            type=kind,
            source="sink",
            time=utc_now(self.clock),
            traceparent=traceparent(signal_id, secrets.randbits(64)),
        )
        return Message(topic, str(row["user_id"]).encode(), encode(record), event_headers(event))


@dataclass(frozen=True, slots=True)
class CaptureEventStage:
    """Applies what the capture workers report."""

    store: SignalStore

    async def work(self, records: Sequence[StreamRecord]) -> None:
        await self.store.apply([_decoded(record, CaptureEvent) for record in records])


def _wants_capture(row: Any) -> bool:
    pending = row["screenshot_status"] == ScreenshotStatus.PENDING
    return bool(pending and row["disposition"] == Disposition.STORED)


def _accepted(record: StreamRecord) -> AcceptedSignal:
    try:
        return _decoded(record, Signal), read_webhook_metadata(record.headers)
    except HeaderError as error:
        raise InvalidError("bad_headers", str(error)) from error


def _decoded(record: StreamRecord, kind: type[RecordT]) -> RecordT:
    try:
        return decode(record.value, kind)
    except RecordDecodeError as error:
        raise InvalidError("bad_record", str(error)) from error
