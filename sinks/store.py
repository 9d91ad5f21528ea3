"""Everything the sink does in Postgres. Each method is one transaction and idempotent."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from runtime.postgres import Pool
from runtime.sql import load_queries
from schemas.headers import WebhookMetadata
from schemas.plans import PLAN_TERMS
from schemas.records import CaptureEvent, CaptureEventKind, ScreenshotStatus, Signal
from sinks.partitions import KnownPartitions

STATUS_OF: Final[Mapping[CaptureEventKind, ScreenshotStatus]] = {
    CaptureEventKind.STARTED: ScreenshotStatus.PROCESSING,
    CaptureEventKind.COMPLETED: ScreenshotStatus.COMPLETED,
    CaptureEventKind.FAILED: ScreenshotStatus.FAILED,
    CaptureEventKind.SKIPPED: ScreenshotStatus.SKIPPED,
    CaptureEventKind.SESSION_EXPIRED: ScreenshotStatus.SKIPPED,
    CaptureEventKind.ACCOUNT_FLAGGED: ScreenshotStatus.SKIPPED,
}

_QUERIES: Final = load_queries("sinks", "queries.sql")

AcceptedSignal = tuple[Signal, WebhookMetadata]


class SignalStore:
    """Signals, their audit rows and what becomes of their pictures.

    Errors are asyncpg's, to be sorted by `runtime.errors.classify`; a batch that raises has changed nothing.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._partitions = KnownPartitions()

    async def insert(self, accepted: Sequence[AcceptedSignal]) -> int:
        """Insert what is not there yet; returns how many rows are new. The main lane never overwrites."""
        await self._ensure_partitions([signal for signal, _metadata in accepted])
        signals = _to_json([_signal_row(signal) for signal, _metadata in accepted])
        audits = _to_json([_audit_row(signal, metadata) for signal, metadata in accepted])
        async with self._pool.acquire() as connection, connection.transaction():
            status = await connection.execute(_QUERIES["insert_signals"], signals)
            await connection.execute(_QUERIES["insert_audit_logs"], audits)
        return int(status.rsplit(" ", 1)[-1])

    async def stored(self, signal_ids: Sequence[UUID]) -> list[Any]:
        """The rows as the database has them now, in id order."""
        rows: list[Any] = await self._pool.fetch(_QUERIES["stored_signals"], list(signal_ids))
        return rows

    async def mark_captures_requested(self, signal_ids: Sequence[UUID]) -> None:
        await self._pool.execute(_QUERIES["mark_captures_requested"], list(signal_ids))

    async def apply(self, events: Sequence[CaptureEvent]) -> None:
        """Apply capture events in order. An event older than the row's state changes nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            for event in events:
                await self._apply_one(connection, event)

    async def _ensure_partitions(self, signals: Sequence[Signal]) -> None:
        missing = self._partitions.missing(signal.received_at for signal in signals)
        if missing:
            await self._pool.execute(_QUERIES["ensure_partitions"], missing)
            self._partitions.add(missing)

    async def _apply_one(self, connection: Any, event: CaptureEvent) -> None:
        picture = event.picture
        if picture is not None:
            await connection.execute(
                _QUERIES["insert_screenshot"],
                picture.key,
                event.user_id,
                picture.size_bytes,
                picture.width_px,
                picture.height_px,
                event.kind.value,
                max(event.tries, 1),
                event.timings_ms,
                picture.captured_at,
            )
        await connection.execute(
            _QUERIES["apply_capture_event"],
            event.signal_ids,
            STATUS_OF[event.kind].value,
            event.reason,
            event.warning,
            event.request_no,
            event.kind.rank,
            picture.key if picture else None,
        )
        if event.kind is CaptureEventKind.SESSION_EXPIRED:
            await connection.execute(_QUERIES["expire_session"], event.user_id, event.session_version)
        if event.kind is CaptureEventKind.ACCOUNT_FLAGGED:
            await connection.execute(_QUERIES["stop_captures"], event.user_id, event.reason)


def _signal_row(signal: Signal) -> dict[str, Any]:
    row = msgspec.structs.asdict(signal)
    capture_within = timedelta(seconds=PLAN_TERMS[signal.plan].capture_within_s)
    return {**row, "capture_by": signal.received_at + capture_within}


def _audit_row(signal: Signal, metadata: WebhookMetadata) -> dict[str, Any]:
    return {
        "signal_id": signal.signal_id,
        "user_id": signal.user_id,
        "received_at": signal.received_at,
        "client_address": metadata.client_address,
        "user_agent": metadata.user_agent,
        "content_type": metadata.content_type,
        "body_bytes": metadata.body_bytes,
        "lane": signal.lane,
    }


def _to_json(rows: Sequence[dict[str, Any]]) -> str:
    return msgspec.json.encode(rows, enc_hook=str).decode()
