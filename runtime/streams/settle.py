"""Runs a role's work over a batch until every record is settled: effect durable, or dead letter.

A record is finished the moment it is settled, whatever becomes of its neighbours.

| failure   | what happens                                                                           |
| --------- | -------------------------------------------------------------------------------------- |
| transient | wait with capped backoff and try the same records again; leave when asked to stop      |
| invalid   | halve the batch down to the culprit, which becomes a dead letter                       |
| bug       | likewise, after a few tries of the single record                                       |
| fatal     | raised: the process ends, what is not settled is not acknowledged                      |

Records whose partition has gone to another member meanwhile are dropped: they are delivered there.

When most of what a stage settles becomes dead letters, the next one is fatal instead: a bad deploy must not
drain a topic.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.backoff import backoff_s
from runtime.clock import Clock, utc_now
from runtime.deadletters import DeadLetter, deadletter_message
from runtime.errors import Failure, FatalError, classify, frames_of, reason_of
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.publisher import Publisher
from runtime.streams.record import StreamRecord
from runtime.streams.share import DeadLetterShare

Work = Callable[[Sequence[StreamRecord]], Awaitable[None]]
"""Returns when the effect of all records is durable. Idempotent: it sees records again after a failure."""


class Custody(Protocol):
    """Where the records come from."""

    def owns(self, record: StreamRecord) -> bool:
        """Whether finishing the record can still acknowledge it."""

    def finish(self, record: StreamRecord) -> None:
        """The record may be acknowledged. Told once of each; nothing for one that is not owned."""


BUG_TRIES: Final = 3
WORK_DEADLINE_S: Final = 60.0

log = get_logger(__name__)


class LeaveUnfinished(Exception):  # noqa: N818 - a signal to the caller, not an error
    """Asked to stop while records were waiting for a dependency: they stay unacknowledged."""


@dataclass(frozen=True, slots=True)
class SettleContext:
    """`stopping` ends waits early; work that is running is left to finish."""

    stage: str
    custody: Custody
    publisher: Publisher
    clock: Clock
    metrics: Metrics
    stopping: asyncio.Event


class Settler:
    """Settles batches of one stage; several at a time do not mind each other."""

    def __init__(self, work: Work, context: SettleContext) -> None:
        self._work = work
        self._context = context
        self._share = DeadLetterShare(context.clock)
        self._failing_since_s: float | None = None

    def failing_s(self) -> float:
        """For how long no work has succeeded because of a dependency; 0 when the last one did."""
        since_s = self._failing_since_s
        return 0.0 if since_s is None else self._context.clock.monotonic_s() - since_s

    async def settle(self, records: Sequence[StreamRecord]) -> None:
        """Returns when every record is finished or has gone to another member.

        Raises `LeaveUnfinished` or `FatalError`: then some may not be, and are left to the next process.
        """
        waits = backoff_s()
        attempts = bugs = 0
        while records := [record for record in records if self._context.custody.owns(record)]:
            attempts += 1
            error = await self._attempt(records)
            if error is None:
                self._failing_since_s = None
                self.finish(records)
                return
            failure = classify(error)
            if failure is Failure.TRANSIENT and self._failing_since_s is None:
                self._failing_since_s = self._context.clock.monotonic_s()
            self._report(failure, error, attempts)
            if failure is Failure.FATAL:
                raise FatalError(f"{self._context.stage}: {reason_of(error)}") from error
            if failure is not Failure.TRANSIENT:
                if len(records) > 1:
                    await self._settle_halves(records)
                    return
                # an outage before does not count
                bugs += 1
                if failure is Failure.INVALID or bugs >= BUG_TRIES:
                    await self.bury(records[0], error, attempts)
                    return
            await self._pause(next(waits))

    async def _attempt(self, records: Sequence[StreamRecord]) -> Exception | None:
        try:
            with self._context.metrics.stream_batch_seconds.labels(self._context.stage).time():
                async with asyncio.timeout(WORK_DEADLINE_S):
                    await self._work(records)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is sorted by classify
            return error
        return None

    async def _settle_halves(self, records: Sequence[StreamRecord]) -> None:
        middle = len(records) // 2
        await self.settle(records[:middle])
        await self.settle(records[middle:])

    async def bury(self, record: StreamRecord, error: Exception, attempts: int = 1) -> None:
        """Make a record a dead letter and finish it when that is durable. Raises as `settle` does."""
        origin = {
            "stage": self._context.stage,
            "reason": reason_of(error),
            "topic": record.source.topic,
            "partition": record.source.partition,
            "offset": record.offset,
        }
        if not self._share.allows_another():
            log.error("too_many_deadletters", share=round(self._share.share(), 3), **origin)
            raise FatalError(f"{self._context.stage}: most records become dead letters: {reason_of(error)}")
        # counted before it is published: others may ask meanwhile
        self._share.add_dead()
        letter = DeadLetter(record, self._context.stage, error, attempts, utc_now(self._context.clock))
        if not await self._publish_letter(letter):
            return
        log.warning("record_buried", **origin)
        self._context.metrics.deadletters.labels(self._context.stage).inc()
        self._count(1, "deadletter")
        self._context.custody.finish(record)

    async def _publish_letter(self, letter: DeadLetter) -> bool:
        """Waits for the broker. False: the record went to another member meanwhile."""
        message = deadletter_message(letter)
        for wait_s in backoff_s():
            if not self._context.custody.owns(letter.record):
                return False
            try:
                await self._context.publisher.publish([message])
            except Exception as refused:
                if classify(refused) is not Failure.TRANSIENT:
                    raise FatalError(f"{self._context.stage}: no dead letter possible") from refused
                log.warning("deadletter_waiting", stage=self._context.stage, reason=reason_of(refused))
                await self._pause(wait_s)
            else:
                return True
        raise AssertionError("backoff never ends")

    def finish(self, records: Sequence[StreamRecord]) -> None:
        """Their effect is durable. Called by stages that work elsewhere and only bury here."""
        self._share.add_good(len(records))
        self._count(len(records), "done")
        for record in records:
            self._context.custody.finish(record)

    async def _pause(self, wait_s: float) -> None:
        waiting = asyncio.create_task(self._context.clock.sleep(wait_s))
        stopping = asyncio.create_task(self._context.stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            stopping.cancel()
        if self._context.stopping.is_set():
            raise LeaveUnfinished

    def _count(self, records: int, outcome: str) -> None:
        self._context.metrics.deadletter_share.labels(self._context.stage).set(self._share.share())
        self._context.metrics.stream_records.labels(self._context.stage, outcome).inc(records)

    def _report(self, failure: Failure, error: Exception, attempts: int) -> None:
        self._context.metrics.stream_retries.labels(self._context.stage, failure.value).inc()
        log.warning(
            "work_failed",
            stage=self._context.stage,
            failure=failure.value,
            reason=reason_of(error),
            attempts=attempts,
            frames=frames_of(error) if failure is Failure.BUG else None,
        )
