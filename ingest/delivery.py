"""Hands a webhook to Kafka and tells within a deadline what became of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from ingest.deadlines import Deadlines
from ingest.fate import Fate
from ingest.outbox import Listener, Outbox, Waiting
from runtime.clock_guard import ClockGuard
from runtime.errors import Failure, TransientError, classify, reason_of
from runtime.kafka import is_broken, stop_client, until_started
from runtime.logging import get_logger
from runtime.process import ProcessContext
from runtime.publisher import Message, check_size

MISSES: Final = 3
"""So many records in a row without an ack in time, and Kafka counts as silent."""

LOG_APPEND_TIME: Final = 1
"""Kafka's number for a topic whose records carry the broker's time."""

_START_AGAIN_S: Final = 5.0

log = get_logger(__name__)


@dataclass(slots=True)
class _Life:
    """One producer from its start to its end. What waits in it is forgotten with it."""

    producer: AIOKafkaProducer
    outbox: Outbox = field(init=False)
    misses: int = 0
    spoiled: asyncio.Event = field(default_factory=asyncio.Event)


class KafkaDelivery:
    """One idempotent producer at a time, with a bound on what waits in it.

    Many webhooks at once are gathered into batches. A producer that cannot go on (fenced, out of sequence,
    without one of its tasks) is replaced; what it held has an unknown fate. Until a broker has answered
    everything is refused.
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
        self._deadlines = Deadlines()
        self._loop = asyncio.get_running_loop()
        self._metrics.webhook_pending.set_function(
            lambda: 0 if self._life is None else self._life.outbox.pending
        )

    @property
    def silent(self) -> bool:
        """Whether asking Kafka would only cost time: the last records got no ack. Any ack ends it."""
        return self._life is not None and self._life.misses >= MISSES

    async def run(self) -> None:
        """Connect, then hold a producer until cancelled; then flush it for a while."""
        while True:
            life = self.begin(await self._start())
            try:
                await life.spoiled.wait()
                self._metrics.producers_replaced.inc()
                log.error("producer_replaced")
            finally:
                self._life = None
                await life.outbox.close()
                await stop_client(life.producer.stop())

    def begin(self, producer: AIOKafkaProducer) -> _Life:
        """Deliver with a started producer from now on."""
        life = _Life(producer)
        listener = Listener(partial(self._acked, life), partial(self._failed, life))
        life.outbox = Outbox(producer, listener)
        self._life = life
        return life

    async def check(self) -> None:
        """Raises `TransientError` while everything is refused, or nothing acked."""
        if self._life is None:
            raise TransientError("no broker has answered yet")
        if self.silent:
            raise TransientError("Kafka acks nothing")

    async def deliver(self, message: Message, deadline_s: float) -> Fate:
        """Never raises but on cancellation; takes no longer than the deadline."""
        life = self._life
        if life is None or life.outbox.pending_bytes + len(message.value) > self._max_pending_bytes:
            return Fate.REFUSED
        try:
            check_size(message)
        except MessageSizeTooLargeError:
            return Fate.IMPOSSIBLE
        waiting = Waiting(message, self._loop.create_future())
        life.outbox.put(waiting)
        due = self._deadlines.watch(waiting, deadline_s)
        try:
            fate = await waiting.fate
        finally:
            due.discard(waiting)
        # an answer of any kind breaks the silence
        if fate is not Fate.ACKED and fate is not Fate.IMPOSSIBLE:
            life.misses += 1
            if is_broken(life.producer):
                life.spoiled.set()
        return fate

    async def _start(self) -> AIOKafkaProducer:
        """However long that takes: what cannot be delivered meanwhile is for the spool."""
        while True:
            try:
                return await until_started(self._create)
            except Exception as error:  # noqa: BLE001 - the ingress accepts alerts whatever is wrong with Kafka
                log.error("producer_not_started", reason=reason_of(error))  # noqa: TRY400 - no traceback
            await asyncio.sleep(_START_AGAIN_S)

    def _acked(self, life: _Life, record: RecordMetadata) -> None:
        life.misses = 0
        # records of one batch were appended together
        if record.timestamp_type == LOG_APPEND_TIME:
            self._clock_guard.observe_broker(record.timestamp)

    def _failed(self, life: _Life, error: BaseException) -> None:
        log.warning("delivery_failed", error=type(error).__name__)
        if classify(error) is Failure.FATAL:
            life.spoiled.set()
