"""Which request gets the next free slot. Pure state: time comes from the clock it is given, no I/O."""

import heapq
from bisect import insort
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from runtime.clock import Clock
from schemas.plans import Plan
from schemas.records import CaptureRequest

BELOW_PREMIUM_EVERY: Final = 10
"""Every tenth grant goes to the oldest waiter below premium."""

TicketT = TypeVar("TicketT")


class JobKey(NamedTuple):
    """Requests that are equal in this, and still wait for their first try, share one picture."""

    plan: Plan
    user_id: UUID
    chart_id: str
    ticker: str
    interval: str | None
    request_no: int


@dataclass(frozen=True, slots=True, eq=False)
class Waiting(Generic[TicketT]):
    """One request, with the ticket of whoever wants to know its end."""

    request: CaptureRequest
    ticket: TicketT


@dataclass(slots=True, eq=False)
class Job(Generic[TicketT]):
    """One picture to take. The first of `waiting` gives it its name; `tries` and `reruns` are the worker's.

    `is_waiting` is the scheduler's: queued or delayed, neither granted nor over.
    """

    key: JobKey
    sequence: int
    admitted_at_s: float
    waiting: list[Waiting[TicketT]] = field(default_factory=list)
    tries: int = 0
    reruns: int = 0
    is_waiting: bool = True


_Queue = OrderedDict[UUID, list[Job[TicketT]]]


class Scheduler(Generic[TicketT]):
    """Grants waiting jobs to free slots.

    The highest plan first, every tenth grant aside; inside a plan the users take turns; of one user first
    come, first served, one at a time. Requests with equal keys share a job until it is granted; one that
    waits for its next try takes in no more, so that each request has all its tries. Whoever is granted a job
    calls `finish` or `retry` once. Requests past their `capture_by` are never granted, but handed out by
    `expire`.
    """

    def __init__(self, slots: int, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._queues: dict[Plan, _Queue[TicketT]] = {plan: OrderedDict() for plan in Plan}
        self._joinable: dict[JobKey, Job[TicketT]] = {}
        self._delayed: list[tuple[float, int, Job[TicketT]]] = []
        self._deadlines: list[tuple[int, int, Job[TicketT], Waiting[TicketT]]] = []
        self._expired: list[Waiting[TicketT]] = []
        self._running: dict[UUID, Job[TicketT]] = {}
        self._last_sequence = 0
        self._grants = 0

    def admit(self, request: CaptureRequest, ticket: TicketT) -> None:
        key = JobKey(
            request.plan,
            request.user_id,
            request.chart_id,
            request.ticker,
            request.interval,
            request.request_no,
        )
        job = self._joinable.get(key)
        if job is None:
            job = self._joinable[key] = Job(key, self._next_sequence(), self._clock.monotonic_s())
            self._enqueue(job)
        waiting = Waiting(request, ticket)
        job.waiting.append(waiting)
        self._watch_deadline(job, waiting)

    def next(self) -> Job[TicketT] | None:
        """Grant a job, or None: no free slot, or nobody who may have one."""
        self._enqueue_due()
        self._collect_expired()
        if len(self._running) >= self._slots:
            return None
        job = self._choose()
        if job is not None:
            self._grants += 1
            self._dequeue(job)
            job.is_waiting = False
            self._running[job.key.user_id] = job
        return job

    def finish(self, job: Job[TicketT]) -> None:
        """The job is over; its user may have another."""
        del self._running[job.key.user_id]

    def retry(self, job: Job[TicketT], delay_s: float) -> None:
        """The job waits again and may be granted after the delay, before what came later."""
        self.finish(job)
        job.is_waiting = True
        heapq.heappush(self._delayed, (self._clock.monotonic_s() + delay_s, job.sequence, job))
        for waiting in job.waiting:
            self._watch_deadline(job, waiting)

    def expire(self) -> list[Waiting[TicketT]]:
        """Requests that waited past their `capture_by`; each is handed out once and known no more."""
        self._collect_expired()
        expired, self._expired = self._expired, []
        return expired

    def wake_in_s(self) -> float | None:
        """When time alone may change what `next` or `expire` answer. None: never."""
        waits = []
        if self._delayed:
            waits.append(self._delayed[0][0] - self._clock.monotonic_s())
        if self._deadlines:
            waits.append((self._deadlines[0][0] - self._clock.unix_ms()) / 1000)
        return max(0.0, min(waits)) if waits else None

    def waiting_by_plan(self) -> dict[Plan, int]:
        """Requests that wait for a slot, those waiting for their next try included."""
        counts = dict.fromkeys(Plan, 0)
        for queue in self._queues.values():
            for jobs in queue.values():
                for job in jobs:
                    counts[job.key.plan] += len(job.waiting)
        for _at_s, _sequence, job in self._delayed:
            counts[job.key.plan] += len(job.waiting)
        return counts

    def _choose(self) -> Job[TicketT] | None:
        if (self._grants + 1) % BELOW_PREMIUM_EVERY == 0:
            oldest = self._oldest_below_premium()
            if oldest is not None:
                return oldest
        for queue in self._queues.values():
            for user_id, jobs in queue.items():
                if user_id not in self._running:
                    return jobs[0]
        return None

    def _oldest_below_premium(self) -> Job[TicketT] | None:
        heads = (
            jobs[0]
            for plan, queue in self._queues.items()
            if plan is not Plan.PREMIUM
            for user_id, jobs in queue.items()
            if user_id not in self._running
        )
        return min(heads, key=_by_sequence, default=None)

    def _enqueue(self, job: Job[TicketT]) -> None:
        insort(self._queues[job.key.plan].setdefault(job.key.user_id, []), job, key=_by_sequence)

    def _dequeue(self, job: Job[TicketT]) -> None:
        """Take a job out of its queue; its user goes to the end of the line."""
        queue, user_id = self._queues[job.key.plan], job.key.user_id
        queue[user_id].remove(job)
        if queue[user_id]:
            queue.move_to_end(user_id)
        else:
            del queue[user_id]
        self._stop_joining(job)

    def _stop_joining(self, job: Job[TicketT]) -> None:
        if self._joinable.get(job.key) is job:
            del self._joinable[job.key]

    def _enqueue_due(self) -> None:
        now_s = self._clock.monotonic_s()
        while self._delayed and self._delayed[0][0] <= now_s:
            _at_s, _sequence, job = heapq.heappop(self._delayed)
            if job.waiting:
                self._enqueue(job)

    def _watch_deadline(self, job: Job[TicketT], waiting: Waiting[TicketT]) -> None:
        at_ms = round(waiting.request.capture_by.timestamp() * 1000)
        heapq.heappush(self._deadlines, (at_ms, self._next_sequence(), job, waiting))

    def _collect_expired(self) -> None:
        now_ms = self._clock.unix_ms()
        while self._deadlines:
            at_ms, _sequence, job, waiting = self._deadlines[0]
            waits = job.is_waiting and waiting in job.waiting
            if waits and at_ms > now_ms:
                break
            heapq.heappop(self._deadlines)
            if waits:
                self._expired.append(waiting)
                self._withdraw(job, waiting)

    def _withdraw(self, job: Job[TicketT], waiting: Waiting[TicketT]) -> None:
        job.waiting.remove(waiting)
        if not job.waiting:
            self._discard(job)

    def _discard(self, job: Job[TicketT]) -> None:
        """Forget a job nobody waits for any more; a delayed one is dropped when it falls due."""
        self._stop_joining(job)
        queue = self._queues[job.key.plan]
        if job in queue.get(job.key.user_id, []):
            queue[job.key.user_id].remove(job)
            if not queue[job.key.user_id]:
                del queue[job.key.user_id]

    def _next_sequence(self) -> int:
        self._last_sequence += 1
        return self._last_sequence


def _by_sequence(job: Job[TicketT]) -> int:
    return job.sequence
