"""Moves the spool's records to Kafka, slower than live traffic."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.spool_folder import RecordNumber, SpooledMessage
from runtime.backoff import backoff_s
from runtime.clock import Clock
from runtime.errors import TransientError
from runtime.logging import get_logger
from runtime.publisher import Message

log = get_logger(__name__)

Deliver = Callable[[Message], Awaitable[bool]]
"""True: acked. False: try later; it may still be written."""


class DrainedSpool(Protocol):
    """What the drain needs of a spool."""

    async def oldest(self, limit: int) -> list[SpooledMessage]: ...

    async def remove(self, numbers: Iterable[RecordNumber]) -> None: ...


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """`batch` records at most are in flight; an empty spool is looked at every `idle_s`."""

    records_per_s: float = 500.0
    batch: int = 100
    idle_s: float = 1.0


class SpoolDrain:
    """Oldest first, the records of a batch together: the producer keeps their order.

    While deliveries fail, one record is tried at a time, with growing waits: each try may be written later.
    """

    def __init__(
        self, spool: DrainedSpool, deliver: Deliver, clock: Clock, limits: DrainLimits | None = None
    ) -> None:
        self._spool = spool
        self._deliver = deliver
        self._clock = clock
        self._limits = limits or DrainLimits()

    async def run(self) -> None:
        """For ever. What was acked and not yet removed when cancelled is delivered again."""
        waits = backoff_s()
        batch = self._limits.batch
        while True:
            began_at_s = self._clock.monotonic_s()
            moved = await self._move(batch)
            if moved is None:
                batch = 1
                await self._clock.sleep(next(waits))
                continue
            waits, batch = backoff_s(), self._limits.batch
            due_s = moved / self._limits.records_per_s if moved else self._limits.idle_s
            await self._clock.sleep(max(0.0, began_at_s + due_s - self._clock.monotonic_s()))

    async def _move(self, limit: int) -> int | None:
        """How many were moved; None when some were not."""
        try:
            spooled = await self._spool.oldest(limit)
        except TransientError as error:
            log.warning("spool_not_read", error=str(error))
            return None
        acked = await self._acked(spooled)
        if acked:
            await self._remove(acked)
        return len(acked) if len(acked) == len(spooled) else None

    async def _acked(self, spooled: Sequence[SpooledMessage]) -> list[SpooledMessage]:
        fates = await asyncio.gather(*(self._deliver(one.message) for one in spooled), return_exceptions=True)
        for error in {type(fate) for fate in fates if isinstance(fate, BaseException)}:
            log.error("spool_delivery_failed", error=error.__name__)
        return [one for one, fate in zip(spooled, fates, strict=True) if fate is True]

    async def _remove(self, acked: Sequence[SpooledMessage]) -> None:
        try:
            await self._spool.remove([one.number for one in acked])
        except TransientError as error:
            # not offered again: go on, as on a full disk it is the drained file that makes room
            log.warning("spool_not_emptied", error=str(error))
