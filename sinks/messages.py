"""What the sink publishes of a row: the request for its picture and its announcement."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runtime.clock import Clock, utc_now
from runtime.ids import RandomBits
from runtime.publisher import Message
from schemas.codec import encode
from schemas.headers import (
    CAPTURE_REQUEST_TYPE,
    STORED_SIGNAL_TYPE,
    CloudEvent,
    event_headers,
    traceparent,
)
from schemas.plans import Plan
from schemas.records import CaptureRequest, Disposition, Record, ScreenshotStatus, StoredSignal
from schemas.topics import CAPTURES, SIGNALS_STORED


@dataclass(frozen=True, slots=True)
class RowMessages:
    """Makes messages of rows of `signals`."""

    clock: Clock
    random_bits: RandomBits

    def capture_request(self, row: Any) -> Message:
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

    def announcement(self, row: Any) -> Message:
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
            time=self._now(),
            traceparent=traceparent(signal_id, self.random_bits(64)),
        )
        return Message(topic, str(row["user_id"]).encode(), encode(record), event_headers(event))

    def _now(self) -> datetime:
        return utc_now(self.clock)


def wants_capture(row: Any) -> bool:
    pending = row["screenshot_status"] == ScreenshotStatus.PENDING
    # a replay may have taken ticker and chart away since
    possible = row["ticker"] is not None and row["chart_id"] is not None
    return bool(pending and possible and row["disposition"] == Disposition.STORED)
