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
from runtime.metrics import Metrics
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

    @property
    def durable(self) -> bool:
        return self in {Fate.ACKED, Fate.SPOOLED}


@dataclass(slots=True)
class _Life:
    """One producer from its start to its end. What waits in it is counted here and forgotten with it."""

    producer: AIOKafkaProducer
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
        self._context = context

    @property
    def _metrics(self) -> Metrics:
        return self._context.metrics

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
                self._metrics.webhook_pending.set(0)
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
        give_up_at_s = asyncio.get_running_loop().time() + deadline_s
        try:
            async with asyncio.timeout_at(give_up_at_s):
                ack = await self._hand_over(life, message)
        except TimeoutError:
            life.misses += 1
            return Fate.REFUSED
        except Exception as error:  # noqa: BLE001 - whatever the cause, the record was not handed over
            self._report(life, error)
            return Fate.REFUSED
        remaining_s = max(0.0, give_up_at_s - asyncio.get_running_loop().time())
        # wait() leaves a late ack running: cancelling it would not unsend the record
        await asyncio.wait({ack}, timeout=remaining_s)
        if ack.done() and not ack.cancelled() and ack.exception() is None:
            return Fate.ACKED
        life.misses += 1
        return Fate.UNKNOWN

    async def _start(self) -> AIOKafkaProducer:
        """However long that takes: what cannot be delivered meanwhile is for the spool."""
        while True:
            try:
                return await until_started(self._create)
            except Exception as error:  # noqa: BLE001 - the ingress accepts alerts whatever is wrong with Kafka
                log.error("producer_not_started", reason=reason_of(error))  # noqa: TRY400 - no traceback
            await asyncio.sleep(_START_AGAIN_S)

    async def _hand_over(self, life: _Life, message: Message) -> "asyncio.Future[Any]":
        ack: asyncio.Future[Any] = await life.producer.send(
            message.topic, message.value, key=message.key, headers=message.headers
        )
        life.pending_bytes += len(message.value)
        self._metrics.webhook_pending.inc()
        ack.add_done_callback(lambda ack: self._settled(life, ack, len(message.value)))
        return ack

    def _settled(self, life: _Life, ack: "asyncio.Future[Any]", size_bytes: int) -> None:
        life.pending_bytes -= size_bytes
        if life is self._life:
            self._metrics.webhook_pending.dec()
        if ack.cancelled():
            return
        if (error := ack.exception()) is not None:
            self._report(life, error)
            return
        life.misses = 0
        record = ack.result()
        if record.timestamp_type == LOG_APPEND_TIME:
            self._clock_guard.observe_broker(record.timestamp)

    def _report(self, life: _Life, error: BaseException) -> None:
        log.warning("delivery_failed", error=type(error).__name__)
        if classify(error) is Failure.FATAL:
            life.spoiled.set()
