"""Looks after captures that nobody reports on, and announces what was released."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from runtime.clock import Clock, utc_now
from runtime.errors import Failure, classify, reason_of
from runtime.ids import RandomPool
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.postgres import Connection, Pool, rows_of
from runtime.publisher import Publisher
from runtime.sql import load_queries
from schemas.records import CaptureEventKind
from sinks.messages import RowMessages, wants_capture

INTERVAL_S: Final = 20.0
SILENT_AFTER: Final = timedelta(minutes=5)
BATCH: Final = 500
LOCK_KEY: Final = 7_281_445_023
"""Advisory lock: one sink of all sweeps at a time."""

_QUERIES: Final = {**load_queries("sinks", "signals.sql"), **load_queries("sinks", "captures.sql")}

log = get_logger(__name__)


class CaptureSweep:
    """Polls the store.

    Rows whose capture is silent for 5 min are asked for again, unless it would come too late: then they are
    skipped as stale. Publishes before it marks, so a crash in between publishes again.
    """

    def __init__(self, pool: Pool, publisher: Publisher, metrics: Metrics, clock: Clock) -> None:
        self._pool = pool
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._messages = RowMessages(RandomPool().bits)

    async def run(self) -> None:
        """For ever, whatever is away."""
        while True:
            try:
                while await self.sweep():
                    pass
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    raise
                log.warning("capture_sweep_waiting", reason=reason_of(error))
            await self._clock.sleep(INTERVAL_S)

    async def sweep(self) -> bool:
        """One batch of each kind in one transaction; returns whether there may be more.

        False also when another process sweeps.
        """
        now = utc_now(self._clock)
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_QUERIES["try_sweep_lock"], LOCK_KEY):
                return False
            # no row stays locked while the broker is waited for
            counts = [
                await self._announce_released(connection, now),
                await self._ask_again(connection, now),
                await self._skip_stale(connection, now),
            ]
        return BATCH in counts

    async def _skip_stale(self, connection: Connection, now: datetime) -> int:
        status = await connection.execute(_QUERIES["skip_stale"], now, BATCH, CaptureEventKind.SKIPPED.rank)
        return self._count("stale", rows_of(status))

    async def _ask_again(self, connection: Connection, now: datetime) -> int:
        rows: Sequence[Any] = await connection.fetch(
            _QUERIES["silent_captures"], now, now - SILENT_AFTER, BATCH
        )
        await self._request(connection, rows, now)
        return self._count("asked_again", len(rows))

    async def _announce_released(self, connection: Connection, now: datetime) -> int:
        released: Sequence[Any] = await connection.fetch(_QUERIES["released_signals"], BATCH)
        rows = [row for row in released if row["sequence"] is not None]
        if rows:
            await self._publisher.publish([self._messages.announcement(row, now) for row in rows])
            young = [row for row in rows if wants_capture(row) and row["capture_by"] >= now]
            await self._request(connection, young, now)
        if released:
            await connection.execute(_QUERIES["forget_released"], [row["id"] for row in released])
        return self._count("released", len(released))

    async def _request(self, connection: Connection, rows: Sequence[Any], now: datetime) -> None:
        if rows:
            await self._publisher.publish([self._messages.capture_request(row, now) for row in rows])
            await connection.execute(_QUERIES["mark_captures_requested"], [row["id"] for row in rows])

    def _count(self, outcome: str, rows: int) -> int:
        self._metrics.captures_swept.labels(outcome).inc(rows)
        if rows:
            log.info("captures_swept", outcome=outcome, rows=rows)
        return rows
