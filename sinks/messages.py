"""What the sink publishes of a row: the request for its picture and its announcement."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

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
from schemas.records import CaptureRequest, Disposition, ScreenshotStatus, StoredSignal
from schemas.topics import CAPTURES, SIGNALS_STORED

# a call of an enum costs ten times as much
_DISPOSITIONS: Final = {item.value: item for item in Disposition}


@dataclass(frozen=True, slots=True)
class RowMessages:
    """Makes messages of rows of `signals`, dated by when they are made."""

    random_bits: RandomBits

    def capture_request(self, row: Any, now: datetime) -> Message:
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
        return self._message(CAPTURES[plan].name, CAPTURE_REQUEST_TYPE, request, now)

    def announcement(self, row: Any, now: datetime) -> Message:
        stored = StoredSignal(
            signal_id=row["id"],
            user_id=row["user_id"],
            disposition=_DISPOSITIONS[row["disposition"]],
            sequence=row["sequence"],
        )
        return self._message(SIGNALS_STORED.name, STORED_SIGNAL_TYPE, stored, now)

    def _message(
        self, topic: str, kind: str, record: CaptureRequest | StoredSignal, now: datetime
    ) -> Message:
        event = CloudEvent(
            id=str(record.signal_id),
            type=kind,
            source="sink",
            time=now,
            traceparent=traceparent(record.signal_id, self.random_bits(64)),
        )
        return Message(topic, str(record.user_id).encode(), encode(record), event_headers(event))


def wants_capture(row: Any) -> bool:
    pending = row["screenshot_status"] == ScreenshotStatus.PENDING
    # a replay may have taken ticker and chart away since
    possible = row["ticker"] is not None and row["chart_id"] is not None
    return bool(pending and possible and row["disposition"] == Disposition.STORED)
