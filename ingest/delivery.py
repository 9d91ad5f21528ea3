"""Hands a webhook to Kafka and tells within a deadline what became of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from runtime.clock_guard import ClockGuard
from runtime.errors import Failure, TransientError, classify, reason_of
from runtime.kafka import stop_client, until_started
from runtime.logging import get_logger
from runtime.process import ProcessContext
from runtime.publisher import Message

MISSES: Final = 3
"""So many records in a row without an ack in time, and Kafka counts as silent."""

LOG_APPEND_TIME: Final = 1
"""Kafka's number for a topic whose records carry the broker's time."""

_START_AGAIN_S: Final = 5.0

log = get_logger(__name__)


class Fate(Enum):
    """What is known of a record when its deadline is over; of several ways to deliver, the first counts."""

    ACKED = auto()
    """Written by all replicas in sync."""
    SPOOLED = auto()
    """Synced to the local disk."""
    UNKNOWN = auto()
    """Handed over, not acked: it may be written yet."""
    REFUSED = auto()
    """Never handed to anybody: it will not be written."""
    IMPOSSIBLE = auto()
    """Kafka will never take this record, as when its topic allows less than we send."""

    @property
    def durable(self) -> bool:
        return self is Fate.ACKED or self is Fate.SPOOLED


@dataclass(slots=True)
class _Life:
    """One producer from its start to its end. What waits in it is counted here and forgotten with it."""

    producer: AIOKafkaProducer
    pending: int = 0
    pending_bytes: int = 0
    misses: int = 0
    spoiled: asyncio.Event = field(default_factory=asyncio.Event)


class KafkaDelivery:
    """One idempotent producer at a time, with a bound on what waits in it.

    Many webhooks at once are gathered into one request by the producer. A producer in a fatal state (fenced,
    out of sequence) is replaced; what it held has an unknown fate. Until a broker has answered everything is
    refused.
    """

    def __init__(
        self,
        create: Callable[[], AIOKafkaProducer],
        max_pending_bytes: int,
        context: ProcessContext,
        clock_guard: ClockGuard,
    ) -> None:
        self._create = create
        self._clock_guard = clock_guard
        self._life: _Life | None = None
        self._max_pending_bytes = max_pending_bytes
        self._metrics = context.metrics
        self._append_ms = -1
        self._metrics.webhook_pending.set_function(lambda: 0 if self._life is None else self._life.pending)

    @property
    def silent(self) -> bool:
        """Whether asking Kafka would only cost time: the last records got no ack. Any ack ends it."""
        return self._life is not None and self._life.misses >= MISSES

    async def run(self) -> None:
        """Connect, then hold a producer until cancelled; then flush it for a while."""
        while True:
            life = _Life(await self._start())
            self._life = life
            try:
                await life.spoiled.wait()
                self._metrics.producers_replaced.inc()
                log.error("producer_replaced")
            finally:
                self._life = None
                await stop_client(life.producer.stop())

    async def check(self) -> None:
        """Raises `TransientError` while everything is refused, or nothing acked."""
        if self._life is None:
            raise TransientError("no broker has answered yet")
        if self.silent:
            raise TransientError("Kafka acks nothing")

    async def deliver(self, message: Message, deadline_s: float) -> Fate:
        """Never raises but on cancellation; takes no longer than the deadline."""
        life = self._life
        if life is None or life.pending_bytes + len(message.value) > self._max_pending_bytes:
            return Fate.REFUSED
        waiting: asyncio.Future[Fate] | None = None
        try:
            async with asyncio.timeout(deadline_s):
                waiting = await self._hand_over(life, message)
                fate = await waiting
        except TimeoutError:
            fate = _fate_of(waiting)
        except Exception as error:  # noqa: BLE001 - whatever the cause, the record was not handed over
            self._report(life, error)
            return Fate.IMPOSSIBLE if classify(error) is Failure.INVALID else Fate.REFUSED
        if fate is Fate.IMPOSSIBLE:
            # Kafka has answered
            return fate
        if fate is not Fate.ACKED:
            life.misses += 1
        return fate

    async def _start(self) -> AIOKafkaProducer:
        """However long that takes: what cannot be delivered meanwhile is for the spool."""
        while True:
            try:
                return await until_started(self._create)
            except Exception as error:  # noqa: BLE001 - the ingress accepts alerts whatever is wrong with Kafka
                log.error("producer_not_started", reason=reason_of(error))  # noqa: TRY400 - no traceback
            await asyncio.sleep(_START_AGAIN_S)

    async def _hand_over(self, life: _Life, message: Message) -> "asyncio.Future[Fate]":
        """Its fate; giving up on that leaves the ack alone: cancelling it would not unsend the record."""
        ack: asyncio.Future[Any] = await life.producer.send(
            message.topic, message.value, key=message.key, headers=message.headers
        )
        size_bytes = len(message.value)
        life.pending += 1
        life.pending_bytes += size_bytes
        waiting: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()

        def settle(ack: "asyncio.Future[Any]") -> None:
            life.pending -= 1
            life.pending_bytes -= size_bytes
            fate = self._settled(life, ack)
            if not waiting.done():
                waiting.set_result(fate)

        ack.add_done_callback(settle)
        return waiting

    def _settled(self, life: _Life, ack: "asyncio.Future[Any]") -> Fate:
        if ack.cancelled():
            return Fate.UNKNOWN
        if (error := ack.exception()) is not None:
            self._report(life, error)
            return Fate.IMPOSSIBLE if classify(error) is Failure.INVALID else Fate.UNKNOWN
        life.misses = 0
        record = ack.result()
        # records of one batch were appended together
        if record.timestamp_type == LOG_APPEND_TIME and record.timestamp != self._append_ms:
            self._append_ms = record.timestamp
            self._clock_guard.observe_broker(record.timestamp)
        return Fate.ACKED

    def _report(self, life: _Life, error: BaseException) -> None:
        log.warning("delivery_failed", error=type(error).__name__)
        if classify(error) is Failure.FATAL:
            life.spoiled.set()


def _fate_of(waiting: "asyncio.Future[Fate] | None") -> Fate:
    """At the deadline: an ack may have come in the same moment."""
    if waiting is None:
        return Fate.REFUSED
    return waiting.result() if waiting.done() and not waiting.cancelled() else Fate.UNKNOWN
