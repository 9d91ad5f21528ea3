"""Owns the slots: admits requests, grants what the scheduler says, and stops without losing any."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from capture.course import Course, House, Ticket, WorkerParts
from capture.events import Ending, ended_event
from capture.job import Job, Spent, Waiting
from capture.lease import AccountBusyError
from capture.outcomes import RULES, Outcome
from capture.patience import LeavingError, Patience
from capture.scheduler import Scheduler
from runtime.clock import utc_now
from runtime.logging import get_logger
from schemas.records import CaptureRequest

__all__ = ["CaptureWorker", "Ticket", "WorkerLimits", "WorkerParts"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """`capacity` bounds the requests held, waiting or in work."""

    slots: int
    tries: int
    capacity: int


class CaptureWorker:
    """`submit` requests while `run` runs; `drain` ends both.

    Every request ends in one durable event and then its ticket, unless the worker stops first: then in
    neither. A dependency that is away costs time but no try.
    """

    def __init__(self, parts: WorkerParts, limits: WorkerLimits, patience: Patience | None = None) -> None:
        self._parts = parts
        self._limits = limits
        self._patience = patience or Patience()
        self._scheduler: Scheduler[Ticket] = Scheduler(limits.slots, parts.clock)
        self._house = House(parts, self._patience, self._scheduler, limits.tries)
        self._open = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._started = False
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, request: CaptureRequest, ticket: Ticket) -> None:
        """Take one request over, as `submit_all` does."""
        await self.submit_all([(request, ticket)])

    async def submit_all(self, offers: Sequence[tuple[CaptureRequest, Ticket]]) -> None:
        """Take requests over, in order; those that have ended already are done at once.

        One question to the database for all of them. Waits while the worker is full or the database away;
        when cancelled there, or told to drain, it has not taken the rest.
        """
        requests = [request for request, _ticket in offers]
        try:
            found = await self._patience.insist(lambda: self._parts.progress.read(requests))
        except LeavingError:
            return
        for (request, ticket), progress in zip(offers, found, strict=True):
            if progress.is_final:
                ticket.done()
            else:
                await self._admit(request, ticket, Spent(progress.tries, progress.reruns))
        ended = sum(progress.is_final for progress in found)
        if ended:
            log.info("captures_already_done", requests=ended)

    async def _admit(self, request: CaptureRequest, ticket: Ticket, spent: Spent) -> None:
        while self._open >= self._limits.capacity:
            self._room.clear()
            await self._room.wait()
        self._open += 1
        self._scheduler.admit(request, _Counted(ticket, self._closed), spent)
        self._changed.set()

    async def run(self) -> None:
        """Work until `drain` is called. Raises what waiting cannot cure, such as `FatalError`. Once only."""
        self._started = True
        try:
            async with asyncio.TaskGroup() as group:
                while not self._patience.is_over:
                    self._changed.clear()
                    self._dispatch(group)
                    await self._until_changed()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            self._ended.set()

    async def drain(self, deadline_s: float) -> None:
        """Grant nothing more; return once the slots are empty, which is forced after the deadline."""
        self._patience.end()
        self._changed.set()
        if not self._started:
            return
        try:
            async with asyncio.timeout(deadline_s):
                await self._ended.wait()
        except TimeoutError:
            log.warning("capture_drain_deadline_passed", left=len(self._tasks))
            for task in self._tasks:
                task.cancel()
            await self._ended.wait()

    def _dispatch(self, group: asyncio.TaskGroup) -> None:
        expired = self._scheduler.expire()
        if expired:
            self._start(group, self._tell_stale(expired))
        while (job := self._scheduler.next()) is not None:
            self._start(group, self._serve(job))
        for plan, count in self._scheduler.waiting_by_plan().items():
            self._parts.metrics.capture_queue.labels(plan=plan.value).set(count)

    def _start(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_changed(self) -> None:
        try:
            async with asyncio.timeout(self._scheduler.wake_in_s()):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _serve(self, job: Job[Ticket]) -> None:
        try:
            delay_s = await Course(job, self._house).follow()
        except AccountBusyError:
            self._scheduler.put_back(job)
            self._changed.set()
            return
        except LeavingError:
            log.info("capture_left", requests=len(job.waiting), tries=job.tries)
            return
        if delay_s is None:
            self._scheduler.finish(job)
        else:
            self._scheduler.retry(job, delay_s)
        self._changed.set()

    async def _tell_stale(self, expired: list[Waiting[Ticket]]) -> None:
        """A picture that comes too late shows another moment: better none."""
        ending = Ending(RULES[Outcome.STALE].event, Outcome.STALE, tries=0)
        self._parts.metrics.captures.labels(outcome=Outcome.STALE.value).inc(len(expired))
        try:
            for waiting in expired:
                event = ended_event([waiting.request], utc_now(self._parts.clock), ending)
                await self._patience.insist(partial(self._parts.publish, event))
                waiting.ticket.done()
        except LeavingError:
            log.info("stale_captures_left")

    def _closed(self) -> None:
        self._open -= 1
        self._room.set()


class _Counted:
    """A ticket that tells the worker that there is room again."""

    def __init__(self, ticket: Ticket, closed: Callable[[], None]) -> None:
        self._ticket = ticket
        self._closed = closed

    def done(self) -> None:
        self._closed()
        self._ticket.done()
