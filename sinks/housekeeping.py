"""What the sink does beside its streams: partitions ahead of time, and retention."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from runtime.clock import Clock, utc_now
from runtime.errors import Failure, classify, reason_of
from runtime.logging import get_logger
from runtime.metrics import Metrics
from sinks.partitions import Partitions
from sinks.retention import OwnerNeededError, Retention

ENSURE_EVERY_S: Final = 3600.0
RETAIN_EVERY_S: Final = 6 * 3600.0
RETRY_S: Final = 60.0

log = get_logger(__name__)


class Housekeeping:
    """Periodic work on the tables, at the start and then for ever, whatever is away.

    Any number of processes may run it: partitions are made once, and one process deletes at a time.
    """

    def __init__(self, partitions: Partitions, retention: Retention, clock: Clock, metrics: Metrics) -> None:
        self._partitions = partitions
        self._retention = retention
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Never returns. Raises what is no fault of a dependency."""
        try:
            async with asyncio.TaskGroup() as group:
                _ = group.create_task(self._repeat(self.ensure, ENSURE_EVERY_S), name="partitions-ensure")
                _ = group.create_task(self._repeat(self.retain, RETAIN_EVERY_S), name="retention")
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def ensure(self) -> None:
        made = await self._partitions.ensure(utc_now(self._clock))
        if made:
            log.info("partitions_made", partitions=made)
            self._metrics.partitions_changed.labels("made").inc(len(made))

    async def retain(self) -> None:
        try:
            removed = await self._retention.run()
        except OwnerNeededError as error:
            # nothing that waiting a minute would change
            log.warning("retention_skipped", reason=str(error))
            return
        if removed is not None:
            log.info(
                "retention_done",
                partitions=removed.partitions,
                in_use=removed.in_use,
                rows=dict(removed.rows),
            )
            self._metrics.partitions_changed.labels("dropped").inc(len(removed.partitions))
            for table, rows in removed.rows.items():
                self._metrics.rows_expired.labels(table).inc(rows)

    async def _repeat(self, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            pause_s = every_s
            try:
                await work()
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    raise
                log.warning("housekeeping_waiting", reason=reason_of(error))
                pause_s = RETRY_S
            await self._clock.sleep(pause_s)
