"""What waits to be handed to a producer: gathered by partition, each partition's records in their order.

aiokafka's own way is record by record, each with a future of its own and so a timer of ours.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from ingest.fate import Fate
from runtime.errors import Failure, classify
from runtime.kafka import partition_of
from runtime.publisher import Message, append_message


@dataclass(eq=False, slots=True)
class Waiting:
    """A record and what becomes of it. Once that is known it is handed over to nobody any more."""

    message: Message
    fate: "asyncio.Future[Fate]"
    handed_over: bool = False

    def settle(self, fate: Fate) -> None:
        if not self.fate.done():
            self.fate.set_result(fate)

    def give_up(self) -> None:
        """Nobody waits for its ack any longer; it is not unsent by that."""
        self.settle(Fate.UNKNOWN if self.handed_over else Fate.REFUSED)


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears of each batch, once: of its ack, or of the error that came instead."""

    acked: Callable[[RecordMetadata], None]
    failed: Callable[[BaseException], None]


@dataclass(eq=False, slots=True)
class _Lane:
    """One partition of a topic; -1 while the topic's partitions are not known."""

    topic: str
    partition: int
    waiting: deque[Waiting] = field(default_factory=deque)
    sending: "asyncio.Task[None] | None" = None


class Outbox:
    """Hands records to one producer in batches. A partition without a leader holds up no other.

    A batch is what came in while the one before was on its way to its broker; nothing lingers. `pending` is
    what was put in and has no outcome yet, also when nobody waits for that any more.
    """

    def __init__(self, producer: AIOKafkaProducer, listener: Listener) -> None:
        self.pending = 0
        self.pending_bytes = 0
        self._producer = producer
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._partitions: dict[str, list[int]] = {}
        self._lanes: dict[tuple[str, int], _Lane] = {}

    def put(self, waiting: Waiting) -> None:
        """Returns at once. What is given up before it is handed over is never handed over."""
        self.pending += 1
        self.pending_bytes += len(waiting.message.value)
        self._line_up(waiting)

    async def close(self) -> None:
        """Stops handing over, and gives up on everything that waits for that."""
        # a lane that only asks for its topic's partitions takes itself off the list when it is cancelled
        lanes = list(self._lanes.values())
        sending = [lane.sending for lane in lanes if lane.sending is not None]
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        for lane in lanes:
            self._settle(list(lane.waiting), Fate.REFUSED)

    def _line_up(self, waiting: Waiting) -> None:
        topic, known = waiting.message.topic, self._partitions.get(waiting.message.topic)
        partition = partition_of(waiting.message.key, known, known) if known else -1
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
        lane.waiting.append(waiting)
        if lane.sending is None:
            work = self._send(lane) if known else self._place(lane)
            lane.sending = self._loop.create_task(work, name=f"outbox-{topic}-{partition}")

    async def _place(self, lane: _Lane) -> None:
        try:
            await self._learn(lane.topic)
        except Exception as error:  # noqa: BLE001 - whatever it is, these were not handed over
            self._refuse(list(lane.waiting), error)
        else:
            for waiting in lane.waiting:
                self._line_up(waiting)
        finally:
            del self._lanes[lane.topic, lane.partition]

    async def _learn(self, topic: str) -> None:
        found = await self._producer.partitions_for(topic)
        if len(found) != len(self._partitions.get(topic, ())):
            self._partitions[topic] = sorted(found)

    async def _send(self, lane: _Lane) -> None:
        try:
            # there may be more of them by now
            await self._learn(lane.topic)
            while lane.waiting:
                records, batch = self._next_batch(lane)
                if records:
                    await self._hand_over(lane, records, batch)
        finally:
            lane.sending = None

    def _next_batch(self, lane: _Lane) -> tuple[Sequence[Waiting], BatchBuilder]:
        records: list[Waiting] = []
        batch = self._producer.create_batch()
        while lane.waiting:
            waiting = lane.waiting[0]
            if waiting.fate.done():
                self._forget([waiting])
            elif append_message(batch, waiting.message):
                waiting.handed_over = True
                records.append(waiting)
            else:
                break
            lane.waiting.popleft()
        return records, batch

    async def _hand_over(self, lane: _Lane, records: Sequence[Waiting], batch: BatchBuilder) -> None:
        try:
            ack = await self._producer.send_batch(batch, lane.topic, partition=lane.partition)
        except Exception as error:  # noqa: BLE001 - likewise
            self._refuse(records, error)
        else:
            ack.add_done_callback(lambda ack: self._answered(records, ack))

    def _answered(self, records: Sequence[Waiting], ack: "asyncio.Future[Any]") -> None:
        if ack.cancelled():
            self._settle(records, Fate.UNKNOWN)
        elif (error := ack.exception()) is not None:
            self._listener.failed(error)
            self._settle(records, _fate_of(error, Fate.UNKNOWN))
        else:
            self._listener.acked(ack.result())
            self._settle(records, Fate.ACKED)

    def _refuse(self, records: Sequence[Waiting], error: Exception) -> None:
        self._listener.failed(error)
        self._settle(records, _fate_of(error, Fate.REFUSED))

    def _settle(self, records: Sequence[Waiting], fate: Fate) -> None:
        self._forget(records)
        for waiting in records:
            waiting.settle(fate)

    def _forget(self, records: Sequence[Waiting]) -> None:
        self.pending -= len(records)
        self.pending_bytes -= sum(len(waiting.message.value) for waiting in records)


def _fate_of(error: BaseException, otherwise: Fate) -> Fate:
    return Fate.IMPOSSIBLE if classify(error) is Failure.INVALID else otherwise
