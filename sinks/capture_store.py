"""What becomes of the pictures, in Postgres. Each method is one transaction and idempotent."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from runtime.postgres import Connection, Pool
from runtime.sql import load_queries
from schemas.records import CaptureEvent, CaptureEventKind, ScreenshotStatus

STATUS_OF: Final[Mapping[CaptureEventKind, ScreenshotStatus]] = {
    CaptureEventKind.STARTED: ScreenshotStatus.PROCESSING,
    CaptureEventKind.COMPLETED: ScreenshotStatus.COMPLETED,
    CaptureEventKind.FAILED: ScreenshotStatus.FAILED,
    CaptureEventKind.SKIPPED: ScreenshotStatus.SKIPPED,
    CaptureEventKind.SESSION_EXPIRED: ScreenshotStatus.SKIPPED,
    CaptureEventKind.ACCOUNT_FLAGGED: ScreenshotStatus.SKIPPED,
}

_QUERIES: Final = load_queries("sinks", "captures.sql")


class CaptureStore:
    """Applies capture events. Errors are asyncpg's; a batch that raises has changed nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def apply(self, events: Sequence[CaptureEvent]) -> None:
        """The order of the events is of no matter: a row ends with the greatest (request_no, rank)."""
        pictures = [_picture_row(event) for event in events if event.picture is not None]
        outcomes = [_outcome_row(signal_id, event) for (signal_id, _), event in greatest(events).items()]
        async with self._pool.acquire() as connection, connection.transaction():
            if pictures:
                await connection.execute(_QUERIES["insert_screenshots"], _to_json(pictures))
            await connection.execute(_QUERIES["apply_capture_events"], _to_json(outcomes))
            for event in events:
                await _apply_to_user(connection, event)


def greatest(events: Sequence[CaptureEvent]) -> dict[tuple[UUID, UUID], CaptureEvent]:
    """Of each user's signal, as (signal, user), the event that stands; of equal ones the first."""
    standing: dict[tuple[UUID, UUID], CaptureEvent] = {}
    for event in events:
        for signal_id in event.signal_ids:
            known = standing.get((signal_id, event.user_id))
            if known is None or _order(known) < _order(event):
                standing[signal_id, event.user_id] = event
    return standing


def _order(event: CaptureEvent) -> tuple[int, int]:
    return event.request_no, event.kind.rank


async def _apply_to_user(connection: Connection, event: CaptureEvent) -> None:
    if event.kind is CaptureEventKind.SESSION_EXPIRED:
        await connection.execute(_QUERIES["expire_session"], event.user_id, event.session_version)
    if event.kind is CaptureEventKind.ACCOUNT_FLAGGED:
        await connection.execute(_QUERIES["stop_captures"], event.user_id, event.reason, event.occurred_at)


def _outcome_row(signal_id: UUID, event: CaptureEvent) -> dict[str, Any]:
    return {
        "signal_id": signal_id,
        "user_id": event.user_id,
        "status": STATUS_OF[event.kind],
        "reason": event.reason,
        "warning": event.warning,
        "request_no": event.request_no,
        "rank": event.kind.rank,
        "screenshot_key": event.picture.key if event.picture else None,
    }


def _picture_row(event: CaptureEvent) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(event.picture),  # type: ignore[arg-type]  # only events with a picture
        "user_id": event.user_id,
        "outcome": event.kind,
        "tries": max(event.tries, 1),
        "timings_ms": event.timings_ms,
    }


def _to_json(rows: Sequence[dict[str, Any]]) -> str:
    return msgspec.json.encode(rows).decode()
