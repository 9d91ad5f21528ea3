"""Between Faust and a role's work: admits records, hands out batches, acknowledges what is finished."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from runtime.clock import Clock
from runtime.streams.ledger import Acknowledge, Ledger
from runtime.streams.record import StreamRecord


class IntakeClosed(Exception):  # noqa: N818 - a signal, not an error
    """Nothing more is handed out."""


@dataclass(frozen=True, slots=True)
class Portion:
    """One of `count` parts of all partitions, beginning with number 0."""

    number: int
    count: int

    def holds(self, record: StreamRecord) -> bool:
        return record.source.partition % self.count == self.number


ALL: Final = Portion(0, 1)


class Intake:
    """A bounded queue of admitted records with the ledger of all that is in work.

    `capacity` bounds what waits here; the loop that admits then waits, which pushes back through Faust's
    own queue to the broker. `admitted` counts all that ever came.
    """

    def __init__(self, capacity: int, clock: Clock) -> None:
        self.ledger = Ledger()
        self.admitted = 0
        self._capacity = capacity
        self._clock = clock
        self._waiting: deque[StreamRecord] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    async def admit(self, record: StreamRecord, acknowledge: Acknowledge) -> None:
        """Returns once there is room. Never raises but on cancellation, which admits nothing."""
        await self.until_room()
        self.ledger.admit(record, acknowledge, self._clock.monotonic_s())
        self._waiting.append(record)
        self.admitted += 1
        self._filled.set()

    async def until_room(self) -> None:
        """Returns when `admit` would not wait."""
        while len(self._waiting) >= self._capacity:
            self._room.clear()
            await self._room.wait()

    async def take(self, limit: int, portion: Portion = ALL) -> list[StreamRecord]:
        """Waits for at least one record; returns at most `limit`, in the order of admission.

        Of more than `limit` those of `portion` alone, if there are any: calls that work beside each other on
        a backlog then have no tenant in common, and do not wait for each other's locks.

        Raises `IntakeClosed` once closed, whatever still waits.
        Records of an earlier assignment are left out: they are delivered again elsewhere.
        """
        while True:
            await self._until_filled(limit)
            if self._closed:
                raise IntakeClosed
            taken = self._remove(limit, portion)
            self._room.set()
            current = [record for record in taken if self.ledger.is_current(record)]
            if current:
                return current

    def _remove(self, limit: int, portion: Portion) -> list[StreamRecord]:
        waiting = self._waiting
        if portion.count > 1 and len(waiting) > limit:
            taken: list[StreamRecord] = []
            left: deque[StreamRecord] = deque()
            for record in waiting:
                (taken if len(taken) < limit and portion.holds(record) else left).append(record)
            if taken:
                self._waiting = left
                return taken
        return [waiting.popleft() for _ in range(min(limit, len(waiting)))]

    async def close(self) -> None:
        """Hand out nothing more. What waits stays unacknowledged."""
        self._closed = True
        self._filled.set()

    async def _until_filled(self, limit: int) -> None:
        """Until something waits, and for as long as each turn of the loop brings more.

        Faust delivers few records a turn. A batch for each turn would cost more than the work; a turn is too
        short to be noticed.
        """
        while not self._waiting and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        seen = 0
        while seen < len(self._waiting) < limit and not self._closed:
            seen = len(self._waiting)
            await asyncio.sleep(0)

    def owns(self, record: StreamRecord) -> bool:
        """Whether finishing the record can still acknowledge it."""
        return self.ledger.is_current(record)

    def finish(self, record: StreamRecord) -> None:
        """The record's effect is durable."""
        self.ledger.finish(record)

    def oldest_age_s(self) -> float:
        """How long the oldest record in work has been here; 0 when there is none."""
        admitted_at_s = self.ledger.oldest_admitted_at_s()
        return 0.0 if admitted_at_s is None else self._clock.monotonic_s() - admitted_at_s
