"""Between Faust and a role's work: admits records, hands out batches, acknowledges what is finished."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from runtime.clock import Clock
from runtime.streams.ledger import Acknowledge, Ledger
from runtime.streams.record import StreamRecord


class IntakeClosed(Exception):  # noqa: N818 - a signal, not an error
    """Nothing more is handed out."""


@dataclass(frozen=True, slots=True)
class Portion:
    """One of `count` parts of all keys, from number 0 on: one for each call that works beside others."""

    number: int
    count: int

    def holds(self, record: StreamRecord) -> bool:
        return crc32(record.key or b"") % self.count == self.number


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
        self._keys_in_work: set[bytes] = set()
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

        With a `portion` of several, none whose key is in work: calls beside each other do not wait for each
        other's locks, and one busy tenant holds up one of them. Of more than `limit` first those of the
        portion, so that each call finds keys enough on a backlog. `release` gives the keys back. A record
        without a key goes to anybody.

        Raises `IntakeClosed` once closed, whatever still waits.
        Records of an earlier assignment are left out: they are delivered again elsewhere.
        """
        while True:
            await self._until_filled(limit)
            if self._closed:
                raise IntakeClosed
            taken = self._remove(limit, portion)
            if not taken:
                await self._until_changed()
                continue
            self._room.set()
            current = [record for record in taken if self.ledger.is_current(record)]
            if current:
                if portion.count > 1:
                    self._keys_in_work.update(record.key for record in current if record.key is not None)
                return current

    def release(self, records: Sequence[StreamRecord]) -> None:
        """What was taken together is settled, or given up: its keys may be taken again."""
        self._keys_in_work.difference_update(record.key for record in records if record.key is not None)
        self._filled.set()

    def _remove(self, limit: int, portion: Portion) -> list[StreamRecord]:
        waiting, busy = self._waiting, self._keys_in_work
        if portion.count == 1:
            return [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        taken: list[StreamRecord] = []
        if len(waiting) > limit:
            taken = self._pick(limit, lambda record: record.key not in busy and portion.holds(record))
        return taken or self._pick(limit, lambda record: record.key not in busy)

    def _pick(self, limit: int, may_go: Callable[[StreamRecord], bool]) -> list[StreamRecord]:
        taken: list[StreamRecord] = []
        left: list[StreamRecord] = []
        while self._waiting and len(taken) < limit:
            record = self._waiting.popleft()
            (taken if may_go(record) else left).append(record)
        self._waiting.extendleft(reversed(left))
        return taken

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
            await self._until_changed()
        seen = 0
        while seen < len(self._waiting) < limit and not self._closed:
            seen = len(self._waiting)
            await asyncio.sleep(0)

    async def _until_changed(self) -> None:
        self._filled.clear()
        await self._filled.wait()

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
