"""Between Faust and a role's work: admits records, hands out batches, acknowledges what is finished."""

import asyncio
from collections import deque

from runtime.clock import Clock
from runtime.streams.ledger import Acknowledge, Ledger
from runtime.streams.record import StreamRecord


class IntakeClosed(Exception):  # noqa: N818 - a signal, not an error
    """Nothing more is handed out."""


class Intake:
    """A bounded queue of admitted records with the ledger of all that is in work.

    `capacity` bounds what waits here; the loop that admits then waits, which pushes back through Faust's
    own queue to the broker.
    """

    def __init__(self, capacity: int, clock: Clock) -> None:
        self.ledger = Ledger()
        self._capacity = capacity
        self._clock = clock
        self._waiting: deque[StreamRecord] = deque()
        self._changed = asyncio.Condition()
        self._closed = False

    async def admit(self, record: StreamRecord, acknowledge: Acknowledge) -> None:
        """Returns once there is room. Never raises but on cancellation, which admits nothing."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < self._capacity)
            self.ledger.admit(record, acknowledge, self._clock.monotonic_s())
            self._waiting.append(record)
            self._changed.notify_all()

    async def take(self, limit: int) -> list[StreamRecord]:
        """Waits for at least one record; returns at most `limit`, in the order of admission.

        Raises `IntakeClosed` once closed, whatever still waits.
        Records of an earlier assignment are left out: they are delivered again elsewhere.
        """
        async with self._changed:
            while True:
                await self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    raise IntakeClosed
                count = min(limit, len(self._waiting))
                taken = [self._waiting.popleft() for _ in range(count)]
                self._changed.notify_all()
                current = [record for record in taken if self.ledger.is_current(record)]
                if current:
                    return current

    async def close(self) -> None:
        """Hand out nothing more. What waits stays unacknowledged."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def finish(self, record: StreamRecord) -> None:
        """The record's effect is durable."""
        self.ledger.finish(record)

    def oldest_age_s(self) -> float:
        """How long the oldest record in work has been here; 0 when there is none."""
        admitted_at_s = self.ledger.oldest_admitted_at_s()
        return 0.0 if admitted_at_s is None else self._clock.monotonic_s() - admitted_at_s
