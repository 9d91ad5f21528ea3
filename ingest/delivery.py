"""Hands a webhook to Kafka and tells within a deadline what became of it."""

import asyncio
from enum import Enum, auto
from typing import Any

from aiokafka import AIOKafkaProducer

from runtime.errors import Failure, TransientError, classify
from runtime.kafka import create_producer, stop_client, until_started
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.process import ProcessContext
from runtime.publisher import Message
from runtime.settings import KafkaSettings

log = get_logger(__name__)


class Fate(Enum):
    """What is known of a record when its deadline is over."""

    ACKED = auto()
    """Written by all replicas in sync."""
    REFUSED = auto()
    """Never handed to the producer: it will not be written."""
    UNKNOWN = auto()
    """Handed over, not acked: the producer may write it yet."""


class KafkaDelivery:
    """One idempotent producer with a bound on what waits in it.

    Many webhooks at once are gathered into one request by the producer. A producer in a fatal state fails the
    process, which starts again with a new one. Until a broker has answered everything is refused.
    """

    def __init__(self, max_pending_bytes: int, context: ProcessContext) -> None:
        self._producer: AIOKafkaProducer | None = None
        self._max_pending_bytes = max_pending_bytes
        self._context = context
        self._pending_bytes = 0

    @property
    def _metrics(self) -> Metrics:
        return self._context.metrics

    async def run(self, settings: KafkaSettings) -> None:
        """Connect, then hold the producer until cancelled; then flush it for a while."""
        producer = await until_started(lambda: create_producer(settings, "alerts-ingest"))
        self._producer = producer
        try:
            await asyncio.Event().wait()
        finally:
            await stop_client(producer.stop())

    async def check(self) -> None:
        """Raises `TransientError` while everything is refused."""
        if self._producer is None:
            raise TransientError("no broker has answered yet")

    async def deliver(self, message: Message, deadline_s: float) -> Fate:
        """Never raises but on cancellation; takes no longer than the deadline."""
        producer = self._producer
        if producer is None or self._pending_bytes + len(message.value) > self._max_pending_bytes:
            return Fate.REFUSED
        give_up_at_s = asyncio.get_running_loop().time() + deadline_s
        try:
            async with asyncio.timeout_at(give_up_at_s):
                ack = await self._hand_over(producer, message)
        except Exception as error:  # noqa: BLE001 - whatever the cause, the record was not handed over
            self._report(error)
            return Fate.REFUSED
        remaining_s = max(0.0, give_up_at_s - asyncio.get_running_loop().time())
        # wait() leaves a late ack running: cancelling it would not unsend the record
        await asyncio.wait({ack}, timeout=remaining_s)
        return self._fate(ack)

    async def _hand_over(self, producer: AIOKafkaProducer, message: Message) -> "asyncio.Future[Any]":
        ack: asyncio.Future[Any] = await producer.send(
            message.topic, message.value, key=message.key, headers=message.headers
        )
        self._pending_bytes += len(message.value)
        self._metrics.webhook_pending.inc()
        ack.add_done_callback(lambda ack: self._settled(ack, len(message.value)))
        return ack

    def _fate(self, ack: "asyncio.Future[Any]") -> Fate:
        if not ack.done() or ack.cancelled() or ack.exception() is not None:
            return Fate.UNKNOWN
        return Fate.ACKED

    def _settled(self, ack: "asyncio.Future[Any]", size_bytes: int) -> None:
        self._pending_bytes -= size_bytes
        self._metrics.webhook_pending.dec()
        if not ack.cancelled() and (error := ack.exception()) is not None:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        log.warning("delivery_failed", error=type(error).__name__)
        if classify(error) is Failure.FATAL:
            self._context.fail(error)
