"""From `webhooks.refused` to `audit_logs`: calls that were turned away, one row for those alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from runtime.errors import InvalidError
from runtime.ids import unix_ms_of
from runtime.metrics import Metrics
from runtime.postgres import Pool, rows_of
from runtime.sql import load_queries
from runtime.streams.record import StreamRecord
from schemas.codec import RecordDecodeError, decode
from schemas.records import RefusedCalls
from sinks.partitions import KnownPartitions

REFUSALS_STAGE: Final = "sink-refusals"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_QUERIES: Final = load_queries("sinks", "refusals.sql")


class RefusalStore:
    """Rows of refused calls, told from accepted ones by `first_at`; `outcome` is the reason.

    Errors are asyncpg's; a batch that raises has added no row.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._partitions = KnownPartitions()

    async def insert(self, refused: Sequence[RefusedCalls]) -> int:
        """Insert what is not there yet; returns how many rows are new."""
        missing = self._partitions.missing(calls.last_at for calls in refused)
        if missing:
            await self._pool.execute(_QUERIES["ensure_audit_partitions"], missing)
            self._partitions.add(missing)
        rows = msgspec.json.encode(refused).decode()
        status = await self._pool.execute(_QUERIES["insert_refused_calls"], rows)
        return rows_of(status)


@dataclass(frozen=True, slots=True)
class RefusalStage:
    """Stores refused calls. A record that comes again changes nothing."""

    store: RefusalStore
    metrics: Metrics

    async def work(self, records: Sequence[StreamRecord]) -> None:
        refused = [read_refused(record) for record in records]
        inserted = await self.store.insert(refused)
        self.metrics.refused_stored.labels("inserted").inc(inserted)
        self.metrics.refused_stored.labels("repeated").inc(len(refused) - inserted)


def read_refused(record: StreamRecord) -> RefusedCalls:
    """Raises `InvalidError`. The id must be of the time it claims: it chooses the row's partition."""
    try:
        refused = decode(record.value, RefusedCalls)
    except RecordDecodeError as error:
        raise InvalidError("bad_record", str(error)) from error
    if refused.last_at.tzinfo is None or _unix_ms(refused.last_at) != unix_ms_of(refused.id):
        raise InvalidError("bad_id", "not of the moment of last_at")
    return refused


def _unix_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
