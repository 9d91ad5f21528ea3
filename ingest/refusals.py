"""Counts refused calls and tells the audit about them, however many come.

Refused calls are best effort on purpose: they are no alerts. What is noted lives in memory, and a crash loses
the counts of one interval, or of an outage of Kafka; no webhook ever waits for them.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, NamedTuple
from uuid import UUID

from runtime.clock import Clock, utc_from_ms
from runtime.errors import Failure, classify, reason_of
from runtime.ids import RandomBits, uuid7
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.process import ProcessContext, guarded
from runtime.publisher import Message, Publisher, open_publisher
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.headers import REFUSED_TYPE, CloudEvent, event_headers, traceparent
from schemas.records import RefusedCalls
from schemas.topics import WEBHOOKS_REFUSED

CAPACITY: Final = 10_000
ADDRESS_CHARS: Final = 64
INTERVAL_S: Final = 5.0
LAST_FLUSH_DEADLINE_S: Final = 1.0
BATCH: Final = 100
"""Small, since a batch is made and handed over in one go, between two webhooks."""

OTHER: Final = "other"
UNKNOWN: Final = "unknown"

# Strangers with made-up tokens cost nothing to have in any number; tenants do not share their room.
_STRANGERS_SHARE: Final = 5

log = get_logger(__name__)


class _Alike(NamedTuple):
    client_address: str
    reason: str
    status: int
    user_id: UUID | None


@dataclass(slots=True)
class _Tally:
    count: int
    first_ms: int
    last_ms: int


class RefusalLedger:
    """Refused calls by client address, reason, status and tenant.

    Holds at most `capacity` of these, a fifth of them without a tenant, and beside them one for each reason
    and status under the address `other`: what finds no room is counted there, so that no call is missing.
    """

    def __init__(self, capacity: int = CAPACITY, random_bits: RandomBits = secrets.randbits) -> None:
        self._capacity = capacity
        self._strangers_capacity = capacity // _STRANGERS_SHARE
        self._random_bits = random_bits
        self._tallies: dict[_Alike, _Tally] = {}
        self._strangers = 0

    def __len__(self) -> int:
        return len(self._tallies)

    def note(self, address: str, reason: str, status: int, user_id: UUID | None, now_ms: int) -> None:
        """Count one call; a microsecond or two, never raises.

        `reason` and `status` come from the code, never from the request, and `user_id` is given only when
        the token was right. An address that is no plain text counts as `unknown`.
        """
        alike = _Alike(_bounded(address), reason, status, user_id)
        tally = self._tallies.get(alike) or self._begin(alike, now_ms)
        tally.count += 1
        if now_ms > tally.last_ms:
            tally.last_ms = now_ms
        elif now_ms < tally.first_ms:  # the wall clock has stepped back
            tally.first_ms = now_ms

    def take(self) -> Iterator[RefusedCalls]:
        """All that was noted since the last call, in the order of the first of each; empties the ledger.

        Each record is made as it is read: thousands at once would keep the webhooks waiting.
        """
        taken, self._tallies = self._tallies, {}
        self._strangers = 0
        return (self._record(alike, tally) for alike, tally in taken.items())

    def _begin(self, alike: _Alike, now_ms: int) -> _Tally:
        if not self._has_room(alike):
            alike = _Alike(OTHER, alike.reason, alike.status, None)
        elif alike.user_id is None:
            self._strangers += 1
        return self._tallies.setdefault(alike, _Tally(0, now_ms, now_ms))

    def _has_room(self, alike: _Alike) -> bool:
        if len(self._tallies) >= self._capacity:
            return False
        return alike.user_id is not None or self._strangers < self._strangers_capacity

    def _record(self, alike: _Alike, tally: _Tally) -> RefusedCalls:
        random_bits = self._random_bits(74)
        return RefusedCalls(
            id=uuid7(tally.last_ms, random_bits >> 62, random_bits),
            client_address=alike.client_address,
            reason=alike.reason,
            status=alike.status,
            count=tally.count,
            first_at=utc_from_ms(tally.first_ms),
            last_at=utc_from_ms(tally.last_ms),
            user_id=alike.user_id,
        )


class RefusalReporter:
    """Publishes what a ledger holds.

    What was taken from the ledger and not acked is published again as it was, before anything newer is taken:
    the broker may have written it, and only under its own id does a second copy count once.
    """

    def __init__(self, ledger: RefusalLedger, clock: Clock, metrics: Metrics) -> None:
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._taken: Iterator[RefusedCalls] = iter(())
        self._batch: list[RefusedCalls] = []

    async def run(self, publisher: Publisher, interval_s: float = INTERVAL_S) -> None:
        """Publish at every interval, whatever is away; once more, for a while, when cancelled.

        Returns when the publisher is beyond repair; call again with a new one.
        """
        usable = True
        try:
            while usable:
                await self._clock.sleep(interval_s)
                usable = await self._flush_or_wait(publisher)
        except asyncio.CancelledError:
            await self._flush_at_last(publisher)
            raise

    async def flush(self, publisher: Publisher) -> None:
        """Publish all there is. Raises the publisher's errors; what is not acked waits for the next call."""
        await self._publish_taken(publisher)
        self._taken = self._ledger.take()
        await self._publish_taken(publisher)

    def abandon(self) -> int:
        """How many calls were never acked; they are forgotten."""
        lost = sum(calls.count for calls in chain(self._batch, self._taken, self._ledger.take()))
        self._batch = []
        return lost

    async def _publish_taken(self, publisher: Publisher) -> None:
        while self._batch or self._next_batch():
            await publisher.publish([refused_message(calls) for calls in self._batch])
            for calls in self._batch:
                self._metrics.refused_calls.labels(calls.reason).inc(calls.count)
            self._batch = []

    async def _flush_or_wait(self, publisher: Publisher) -> bool:
        """Whether the publisher can be used again."""
        try:
            await self.flush(publisher)
        except Exception as error:  # noqa: BLE001 - no fault of the audit may end the ingress
            log.warning("refused_calls_wait", reason=reason_of(error))
            return classify(error) is not Failure.FATAL
        return True

    def _next_batch(self) -> bool:
        self._batch = list(islice(self._taken, BATCH))
        return bool(self._batch)

    async def _flush_at_last(self, publisher: Publisher) -> None:
        # A task of its own: in one that is being cancelled, `asyncio.timeout` cannot tell whose end it sees.
        flushing = asyncio.create_task(self.flush(publisher), name="refusals-last-flush")
        _done, late = await asyncio.wait({flushing}, timeout=LAST_FLUSH_DEADLINE_S)
        if late:
            flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)


@asynccontextmanager
async def open_refusals(settings: KafkaSettings, context: ProcessContext) -> AsyncIterator[RefusalLedger]:
    """A ledger that is published until the block is left. Does not wait for a broker.

    Its producer is its own: a flood of refused calls must not stand before an alert. Leaving takes up to two
    seconds when Kafka is away.
    """
    ledger = RefusalLedger()
    reporter = RefusalReporter(ledger, context.clock, context.metrics)
    reporting = asyncio.create_task(guarded(_report(reporter, settings), context), name="refusals")
    try:
        yield ledger
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
        if lost := reporter.abandon():
            log.warning("refused_calls_lost", calls=lost)


def refused_message(calls: RefusedCalls) -> Message:
    """The record of `webhooks.refused`, keyed by address. Repeating it gives the same bytes."""
    event = CloudEvent(
        id=str(calls.id),
        type=REFUSED_TYPE,
        source="ingest",
        time=calls.last_at,
        traceparent=traceparent(calls.id, calls.id.int),
    )
    return Message(WEBHOOKS_REFUSED.name, calls.client_address.encode(), encode(calls), event_headers(event))


async def _report(reporter: RefusalReporter, settings: KafkaSettings) -> None:
    while True:
        async with open_publisher(settings, "alerts-ingest-refused") as publisher:
            await reporter.run(publisher)


def _bounded(address: str) -> str:
    cut = address[:ADDRESS_CHARS]
    return cut if cut and cut.isascii() and cut.isprintable() else UNKNOWN
