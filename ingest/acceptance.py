"""Makes a webhook durable within the sender's patience: in Kafka, else in the local spool."""

import asyncio
from typing import Final

from ingest.delivery import Fate, KafkaDelivery
from ingest.spool import Spool, SpoolRefusedError
from runtime.publisher import Message

DRAIN_DEADLINE_S: Final = 30.0


class Acceptance:
    """Kafka first. What it does not ack in time goes to the spool under the same id.

    The producer may still deliver such a record: then it is there twice, which the id makes harmless. While
    Kafka is silent records go straight to the spool; what drains from there tells when Kafka is back.
    """

    def __init__(self, delivery: KafkaDelivery, spool: Spool) -> None:
        self._delivery = delivery
        self._spool = spool

    async def accept(self, message: Message, ack_deadline_s: float, answer_deadline_s: float) -> Fate:
        """Never raises but on cancellation. Takes no longer than `answer_deadline_s` in all.

        `REFUSED` and `UNKNOWN`: the spool has refused, too.
        """
        answer_at_s = asyncio.get_running_loop().time() + answer_deadline_s
        first = await self._put(message, answer_at_s) if self._delivery.silent else Fate.REFUSED
        if first is Fate.SPOOLED:
            return first
        second = await self._delivery.deliver(message, min(ack_deadline_s, _until(answer_at_s)))
        if second is Fate.ACKED:
            return second
        fates = {first, second, await self._put(message, answer_at_s)}
        return next(fate for fate in Fate if fate in fates)

    async def redeliver(self, message: Message) -> bool:
        """For what drains from the spool: whether Kafka has acked it."""
        return await self._delivery.deliver(message, DRAIN_DEADLINE_S) is Fate.ACKED

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


def _until(at_s: float) -> float:
    return max(0.0, at_s - asyncio.get_running_loop().time())
