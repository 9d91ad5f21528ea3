"""Produces events at a steady rate and knows which of them the broker has accepted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from runtime.kafka import stop_client
from tests.support.harness.spec import Event


class Feed:
    """`accepted` holds what was acked, in the order of offering. Outages are waited for."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._acks: list[tuple[Event, asyncio.Future[Any]]] = []

    async def offer(self, event: Event) -> None:
        """To the partitions in turn. Returns before the broker has acked."""
        partition = len(self._acks) % self._partitions
        ack = await self._producer.send(self._topic, event.encode(), key=event.encode(), partition=partition)
        self._acks.append((event, ack))

    async def offer_all(self, events: Sequence[Event], interval_s: float = 0.0) -> None:
        for event in events:
            await self.offer(event)
            await asyncio.sleep(interval_s)

    async def accepted(self) -> list[Event]:
        """Everything offered, once it is acked."""
        async with asyncio.timeout(60):
            await asyncio.gather(*(ack for _event, ack in self._acks))
        return [event for event, _ack in self._acks]

    async def partitions(self) -> dict[str, int]:
        """The partition of each event, in the order of their offsets, once all are acked."""
        await self.accepted()
        places = [(ack.result().offset, ack.result().partition, event.id) for event, ack in self._acks]
        return {event_id: partition for _offset, partition, event_id in sorted(places)}


@asynccontextmanager
async def feeding(bootstrap: str, topic: str, partitions: int = 1) -> AsyncIterator[Feed]:
    # one batch takes all that a test offers during an outage
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=2**22, max_request_size=2**23
    )
    await producer.start()
    try:
        yield Feed(producer, topic, partitions)
    finally:
        await stop_client(producer.stop())
