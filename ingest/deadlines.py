"""Gives up on records at their deadline."""

import asyncio
import math
from typing import Final

from ingest.outbox import Waiting

TICK_S: Final = 0.02


class Deadlines:
    """One timer for all that fall due in the same tick, at its end: a timer each costs ten times as much."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticks: dict[int, set[Waiting]] = {}

    def watch(self, waiting: Waiting, deadline_s: float) -> set[Waiting]:
        """What to discard it from when it is done."""
        tick = math.ceil((self._loop.time() + deadline_s) / TICK_S)
        due = self._ticks.get(tick)
        if due is None:
            due = self._ticks[tick] = set()
            self._loop.call_at(tick * TICK_S, self._give_up, tick)
        due.add(waiting)
        return due

    def _give_up(self, tick: int) -> None:
        for waiting in self._ticks.pop(tick):
            waiting.give_up()
