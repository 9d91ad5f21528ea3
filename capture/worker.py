"""Owns the slots: takes what the scheduler grants, sees it through, and tells the end before it lets go."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from capture.attempt import Studio, Taken
from capture.events import Ending, ended_event, started_event
from capture.outcomes import RULES, After, CaptureFailedError, CaptureRefusedError, Outcome
from capture.scheduler import Job, Scheduler, Waiting
from capture.session import TradingViewSession
from runtime.backoff import backoff_s
from runtime.clock import Clock, utc_now
from runtime.errors import Failure, classify, reason_of
from runtime.logging import get_logger
from runtime.metrics import Metrics
from schemas.plans import Plan
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest, Picture

RERUNS_MAX: Final = 3
_RETRY_DELAYS_S: Final = (2.0, 4.0, 8.0)
_JITTER: Final = 0.25

T = TypeVar("T")
Publish = Callable[[CaptureEvent], Awaitable[None]]
"""Returns once the event is durable; may raise, and is then called again with the same event."""

log = get_logger(__name__)


class Ticket(Protocol):
    """Whoever delivered a request."""

    def done(self) -> None:
        """The end of the request is durable; called once, in any order, never for unfinished work."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    slots: int
    tries: int
    capacity: int


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker works with. `random` is between 0 and 1, for jitter."""

    studio: Studio
    publish: Publish
    clock: Clock
    metrics: Metrics
    random: Callable[[], float]


class _LeavingError(Exception):
    """The worker is told to stop: what is in hand is left for the next one."""


class CaptureWorker:
    """`submit` requests while `run` runs; `drain` ends both.

    Every request ends in exactly one durable event and then its ticket, unless the worker stops first: then
    neither. What a dependency that is away delays costs no try.
    """

    def __init__(self, parts: WorkerParts, limits: WorkerLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._scheduler: Scheduler[Ticket] = Scheduler(limits.slots, parts.clock)
        self._open = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._leaving = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def submit(self, request: CaptureRequest, ticket: Ticket) -> None:
        """Take a request over. Waits while `capacity` requests are open; cancelled there, it took nothing."""
        while self._open >= self._limits.capacity:
            self._room.clear()
            await self._room.wait()
        self._open += 1
        self._scheduler.admit(request, ticket)
        self._changed.set()

    async def run(self) -> None:
        """Work until `drain`. Raises what waiting cannot cure, such as `FatalError`."""
        try:
            async with asyncio.TaskGroup() as group:
                while not self._leaving.is_set():
                    self._changed.clear()
                    self._dispatch(group)
                    await self._until_changed()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            self._ended.set()

    async def drain(self, deadline_s: float) -> None:
        """Grant nothing more; return when the slots are empty, after the deadline by force. `run` ends too."""
        self._leaving.set()
        self._changed.set()
        try:
            async with asyncio.timeout(deadline_s):
                await self._ended.wait()
        except TimeoutError:
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

    def _start(self, group: asyncio.TaskGroup, work: "Coroutine[None, None, None]") -> None:
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
            delay_s = await self._see_through(job)
        except _LeavingError:
            log.info("capture_left", tries=job.tries)
            return
        if delay_s is None:
            self._scheduler.finish(job)
        else:
            self._scheduler.retry(job, delay_s)
        self._changed.set()

    async def _see_through(self, job: Job[Ticket]) -> float | None:
        """None: every request of the job has ended. Else it is to be tried again after so many seconds."""
        queue_ms = round((self._parts.clock.monotonic_s() - job.admitted_at_s) * 1000)
        while job.waiting:
            try:
                await self._attempt(job, queue_ms)
            except CaptureFailedError as error:
                delay_s = await self._after_failure(job, error)
                if delay_s is not None:
                    return delay_s
        return None

    async def _attempt(self, job: Job[Ticket], queue_ms: int) -> None:
        studio = self._parts.studio
        first = job.waiting[0].request
        picture = await self._patiently(lambda: studio.existing(first))
        if picture is not None:
            await self._tell_found(job, picture)
            return
        session = await self._patiently(lambda: studio.sessions.read(first.user_id))
        if job.tries == 0 and job.reruns == 0:
            await self._publish(started_event(_requests(job.waiting), utc_now(self._parts.clock), session.version))
        job.tries += 1
        taken = await self._take(first, session)
        await self._tell_taken(job, taken, session, queue_ms)

    async def _take(self, request: CaptureRequest, session: TradingViewSession) -> Taken:
        try:
            return await self._patiently(lambda: self._parts.studio.take(request, session))
        except CaptureFailedError as error:
            if error.outcome is Outcome.SESSION_EXPIRED:
                self._parts.studio.sessions.expired(request.user_id, session.version)
            raise _with_version(error, session.version) from error
        except _LeavingError:
            raise
        except Exception as error:
            if classify(error) is Failure.FATAL:
                raise
            log.exception("capture_bug")
            raise _with_version(CaptureFailedError(Outcome.INTERNAL_ERROR, reason_of(error)), session.version) from error
