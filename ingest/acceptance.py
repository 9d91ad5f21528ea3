"""Makes a webhook durable within the sender's patience: in Kafka, else in the local spool."""

import asyncio
from datetime import datetime
from typing import Final
from uuid import UUID

from ingest.delivery import KafkaDelivery
from ingest.fate import Fate
from ingest.spool import Spool, SpoolRefusedError
from runtime.clock import Clock, utc_now
from runtime.deadletters import DeadLetter, deadletter_message
from runtime.errors import InvalidError
from runtime.ids import unix_ms_of
from runtime.logging import get_logger
from runtime.publisher import Message
from runtime.streams.record import StreamRecord, TopicPartition

STAGE: Final = "ingest"
DRAIN_DEADLINE_S: Final = 30.0

log = get_logger(__name__)


class Acceptance:
    """Kafka first. What it does not ack in time goes to the spool under the same id.

    The producer may still deliver such a record: then it is there twice, which the id makes harmless. While
    Kafka is silent records go straight to the spool; what drains from there tells when Kafka is back.
    """

    def __init__(self, delivery: KafkaDelivery, spool: Spool, clock: Clock) -> None:
        self._delivery = delivery
        self._spool = spool
        self._clock = clock
        # asking which loop runs asks the system for the process, too
        self._loop = asyncio.get_running_loop()
        self._suspect: Message | None = None

    async def accept(self, message: Message, ack_deadline_s: float, answer_deadline_s: float) -> Fate:
        """Never raises but on cancellation. Takes no longer than `answer_deadline_s` in all.

        `REFUSED` and `UNKNOWN`: the spool has refused, too.
        """
        answer_at_s = self._loop.time() + answer_deadline_s
        first = await self._put(message, answer_at_s) if self._delivery.silent else Fate.REFUSED
        if first is Fate.SPOOLED:
            return first
        second = await self._delivery.deliver(message, min(ack_deadline_s, answer_at_s - self._loop.time()))
        if second is Fate.ACKED:
            return second
        fates = {first, second, await self._put(message, answer_at_s)}
        return next(fate for fate in Fate if fate in fates)

    async def redeliver(self, message: Message) -> bool:
        """For what drains from the spool: whether Kafka has acked it, if need be as a dead letter.

        One that its topic will never take must not hold up those behind it.
        """
        fate = await self._delivery.deliver(message, DRAIN_DEADLINE_S)
        if fate is Fate.IMPOSSIBLE:
            return await self._bury(message)
        return fate is Fate.ACKED

    async def _bury(self, message: Message) -> bool:
        if message != self._suspect:
            # refused in a batch: alone, in the next try, it may be taken
            self._suspect = message
            return False
        log.error("spooled_record_buried", topic=message.topic, size_bytes=len(message.value))
        letter = deadletter_message(_letter(message, utc_now(self._clock)))
        return await self._delivery.deliver(letter, DRAIN_DEADLINE_S) is Fate.ACKED

    async def _put(self, message: Message, answer_at_s: float) -> Fate:
        try:
            async with asyncio.timeout_at(answer_at_s):
                await self._spool.put(message)
        except SpoolRefusedError:
            return Fate.REFUSED
        except TimeoutError:
            # given up while it was being written: it may be there
            return Fate.UNKNOWN
        return Fate.SPOOLED


def _letter(message: Message, now: datetime) -> DeadLetter:
    """Of a record that never was on its topic."""
    signal_id = UUID(dict(message.headers)["signal_id"].decode())
    record = StreamRecord(
        source=TopicPartition(message.topic, -1),
        offset=-1,
        generation=0,
        timestamp_ms=unix_ms_of(signal_id),
        key=message.key,
        value=message.value,
        headers=tuple(message.headers),
    )
    return DeadLetter(record, STAGE, InvalidError("refused_by_topic"), 1, now)
