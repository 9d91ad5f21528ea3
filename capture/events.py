"""What is told about a capture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from capture.outcomes import Outcome, PictureWarning
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest, Picture


@dataclass(frozen=True, slots=True)
class Ending:
    """How a capture ended: its outcome, and the picture if there is one.

    `fence` is that of the lease under which the last try was made; 0: without one.
    """

    kind: CaptureEventKind
    outcome: Outcome
    tries: int
    fence: int = 0
    session_version: int | None = None
    picture: Picture | None = None
    warning: PictureWarning | None = None
    timings_ms: Mapping[str, int] = field(default_factory=dict)


def started_event(
    requests: list[CaptureRequest], occurred_at: datetime, session_version: int, fence: int
) -> CaptureEvent:
    """A worker has begun. `requests` are not empty and share one picture."""
    first = requests[0]
    return CaptureEvent(
        kind=CaptureEventKind.STARTED,
        signal_ids=_signal_ids(requests),
        user_id=first.user_id,
        plan=first.plan,
        request_no=first.request_no,
        occurred_at=occurred_at,
        tries=0,
        fence=fence,
        session_version=session_version,
    )


def ended_event(requests: list[CaptureRequest], occurred_at: datetime, ending: Ending) -> CaptureEvent:
    """The end of all `requests`, which are not empty. A completed one has no reason."""
    first = requests[0]
    return CaptureEvent(
        kind=ending.kind,
        signal_ids=_signal_ids(requests),
        user_id=first.user_id,
        plan=first.plan,
        request_no=first.request_no,
        occurred_at=occurred_at,
        tries=ending.tries,
        fence=ending.fence,
        session_version=ending.session_version,
        reason=None if ending.outcome is Outcome.COMPLETED else ending.outcome,
        warning=ending.warning,
        picture=ending.picture,
        timings_ms=dict(ending.timings_ms),
    )


def _signal_ids(requests: list[CaptureRequest]) -> list[UUID]:
    return list(dict.fromkeys(request.signal_id for request in requests))
