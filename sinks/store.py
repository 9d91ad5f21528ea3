"""Everything the sink does to signals in Postgres. Each method is one transaction and idempotent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from runtime.errors import InvalidError, TransientError
from runtime.postgres import Pool, rows_of
from runtime.sql import load_queries
from schemas.headers import WebhookMetadata
from schemas.plans import PLAN_TERMS
from schemas.records import Disposition, Signal
from sinks.partitions import LONGEST_KEPT_DAYS, KnownPartitions

_QUERIES: Final = load_queries("sinks", "signals.sql")

_TRIES: Final = 5
_PLANS: Final = [plan.value for plan in PLAN_TERMS]
_KEPT: Final = [timedelta(days=terms.signals_kept_days) for terms in PLAN_TERMS.values()]
_CAPTURE_WITHIN: Final = [timedelta(seconds=terms.capture_within_s) for terms in PLAN_TERMS.values()]


class AcceptedSignal(msgspec.Struct, frozen=True):
    """A signal, its record's bytes, and what the ingress knew of the call."""

    signal: Signal
    json: bytes
    call: WebhookMetadata


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """The rows of a batch as they are after it, the `inserted` new ones first.

    `expired` signals have none, `over_quota` were stored all the same.
    """

    rows: Sequence[Any]
    inserted: int = 0
    expired: int = 0
    over_quota: int = 0

    def count(self, disposition: Disposition) -> int:
        """How many of the new rows."""
        return sum(row["disposition"] == disposition for row in self.rows[: self.inserted])


class SignalStore:
    """Signals, their audit rows and their count in the quota.

    Errors are asyncpg's, to be sorted by `runtime.errors.classify`, and `InvalidError` for a signal of a
    tenant nobody knows; a batch that raises has changed nothing.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._partitions = KnownPartitions()

    async def insert(self, accepted: Sequence[AcceptedSignal], now: datetime) -> StoredBatch:
        """Insert what is not there yet. What is there stays as it is."""
        by_id = {item.signal.signal_id: item for item in accepted}
        oldest = now - timedelta(days=LONGEST_KEPT_DAYS)
        items = [item for item in by_id.values() if item.signal.received_at >= oldest]
        rows = await self._insert(items, now) if items else []
        known = {row["id"] for row in rows}
        others = [signal_id for signal_id in by_id if signal_id not in known]
        met_again = await self._pool.fetch(_QUERIES["stored_signals"], others) if others else []
        over_quota = rows[0]["over_quota"] if rows else 0
        return StoredBatch([*rows, *met_again], len(rows), len(others) - len(met_again), over_quota)

    async def reparse(self, accepted: Sequence[AcceptedSignal]) -> int:
        """Update the parsed columns of rows that were parsed by an older revision; returns how many."""
        newest = sorted(accepted, key=lambda item: item.signal.source.parse_revision)
        # of two readings of one signal only one may take part in the update
        records = [item.json for item in {item.signal.signal_id: item for item in newest}.values()]
        status = await self._pool.execute(_QUERIES["reparse_signals"], _json_array(records))
        return rows_of(status)

    async def mark_captures_requested(self, signal_ids: Sequence[UUID]) -> None:
        if signal_ids:
            await self._pool.execute(_QUERIES["mark_captures_requested"], list(signal_ids))

    async def _insert(self, items: Sequence[AcceptedSignal], now: datetime) -> Sequence[Any]:
        await self._ensure_partitions(items)
        try:
            return await self._insert_rows(items, now)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name is not None:
                raise
            # a partition is gone that was in place
            self._partitions.clear()
            raise TransientError("a partition is missing") from error

    async def _insert_rows(self, items: Sequence[AcceptedSignal], now: datetime) -> Sequence[Any]:
        for _ in range(_TRIES):
            try:
                rows = await self._fetch_inserted(items, now)
            except asyncpg.UniqueViolationError:
                # somebody else has stored one of these meanwhile, which the next try sees
                continue
            if rows[0]["unknown"]:
                raise InvalidError("unknown_user")
            if not rows[0]["missing"]:
                return [row for row in rows if row["id"] is not None]
            users = [item.signal.user_id for item in items]
            moments = [item.signal.received_at for item in items]
            await self._pool.execute(_QUERIES["make_usage"], users, moments)
        raise TransientError("others store the same signals")

    async def _fetch_inserted(self, items: Sequence[AcceptedSignal], now: datetime) -> Sequence[Any]:
        """One transaction. At least one row, which tells what is in the way."""
        rows: Sequence[Any] = await self._pool.fetch(
            _QUERIES["insert_signals"],
            _json_array([item.json for item in items]),
            _json_array([_call_row(item.call) for item in items]),
            _PLANS,
            [now - kept for kept in _KEPT],
            _CAPTURE_WITHIN,
            now,
        )
        return rows

    async def _ensure_partitions(self, items: Sequence[AcceptedSignal]) -> None:
        missing = self._partitions.missing(item.signal.received_at for item in items)
        if missing:
            await self._pool.execute(_QUERIES["ensure_partitions"], missing)
            self._partitions.add(missing)


def _call_row(call: WebhookMetadata) -> bytes:
    row: Mapping[str, Any] = {
        "client_address": call.client_address,
        "user_agent": call.user_agent,
        "content_type": call.content_type,
        "body_bytes": call.body_bytes,
        "captures_wanted": call.captures_wanted,
    }
    return msgspec.json.encode(row)


def _json_array(values: Sequence[bytes]) -> str:
    return (b"[" + b",".join(values) + b"]").decode()
