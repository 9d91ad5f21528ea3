"""Which request gets the next free slot. Pure state: time comes from the clock it is given, no I/O."""

import heapq
from bisect import insort
from collections import OrderedDict
from typing import Final, Generic
from uuid import UUID

from capture.accounts import AccountBook
from capture.job import UNTRIED, Job, JobKey, Spent, TicketT, Waiting, key_of
from runtime.clock import Clock
from schemas.plans import Plan
from schemas.records import CaptureRequest

BELOW_PREMIUM_EVERY: Final = 10
"""Of so many grants that could pass over a lower plan, one goes to the oldest waiter below premium."""

_Queue = OrderedDict[UUID, list[Job[TicketT]]]


class Scheduler(Generic[TicketT]):
    """Grants waiting jobs to free slots.

    The highest plan first, but every tenth grant that would pass over a lower plan goes to the oldest waiter
    below premium: a backlog that was served while nobody higher came has no turn to claim from who comes
    then. Inside a plan the users take turns; of one user first come, first served, one at a time, and so of
    the users of one account. Suspects run one at a time, so that a page that ends workers costs its
    neighbours no more than a try. Requests with equal keys share a job until it is granted; one that waits
    for its next try takes in no more, so that each request has all its tries. Whoever is granted a job calls
    `finish`, `retry` or `put_back` once. Requests past their `capture_by` are never granted, but handed out
    by `expire`.
    """

    def __init__(self, slots: int, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._accounts = AccountBook(clock)
        self._queues: dict[Plan, _Queue[TicketT]] = {plan: OrderedDict() for plan in Plan}
        self._joinable: dict[tuple[JobKey, Spent], Job[TicketT]] = {}
        self._delayed: list[tuple[float, int, Job[TicketT]]] = []
        self._deadlines: list[tuple[int, int, Job[TicketT], Waiting[TicketT]]] = []
        self._expired: list[Waiting[TicketT]] = []
        self._running: dict[UUID, Job[TicketT]] = {}
        self._last_sequence = 0
        self._passes = 0

    def admit(self, request: CaptureRequest, ticket: TicketT, spent: Spent = UNTRIED) -> None:
        key = key_of(request)
        job = self._joinable.get((key, spent))
        if job is None:
            job = Job(key, self._next_sequence(), self._clock.monotonic_s())
            job.tries, job.reruns, job.is_suspect = spent.tries, spent.reruns, spent != UNTRIED
            self._joinable[key, spent] = job
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
        is_turn = self._passes + 1 >= BELOW_PREMIUM_EVERY
        below = self._oldest_below_premium() if is_turn else None
        job = below or self._highest()
        if job is not None:
            self._count(job, in_turn=below is not None)
            self._dequeue(job)
            job.is_waiting = False
            self._running[job.key.user_id] = job
        return job

    def occupy(self, job: Job[TicketT], account: bytes) -> bool:
        """The granted job needs this account. False: it is busy or rests, and the job must be put back."""
        return self._accounts.occupy(job.key.user_id, account)

    def rest(self, account: bytes, seconds: float) -> None:
        """Grant nothing more to the account for so long."""
        self._accounts.rest(account, seconds)

    def wants(self, account: bytes) -> bool:
        """Whether something that is not delayed waits for the account."""
        users = self._accounts.users_of(account)
        return any(user_id in queue for user_id in users for queue in self._queues.values())

    def finish(self, job: Job[TicketT]) -> None:
        """The job is over; its user and its account may have another."""
        del self._running[job.key.user_id]
        self._accounts.leave(job.key.user_id)

    def retry(self, job: Job[TicketT], delay_s: float) -> None:
        """The job waits again and may be granted after the delay, before what came later."""
        self.finish(job)
        heapq.heappush(self._delayed, (self._clock.monotonic_s() + delay_s, job.sequence, job))
        self._await_again(job)

    def put_back(self, job: Job[TicketT]) -> None:
        """The grant did not count: the job takes its place again."""
        self.finish(job)
        # a turn that could not be used is not lost
        if job.was_in_turn:
            self._passes = BELOW_PREMIUM_EVERY - 1
        elif job.passed_others:
            self._passes = max(self._passes - 1, 0)
        if job.waiting:
            self._enqueue(job)
            self._queues[job.key.plan].move_to_end(job.key.user_id, last=False)
            self._await_again(job)

    def expire(self) -> list[Waiting[TicketT]]:
        """Requests that waited past their `capture_by`; each is handed out once and known no more."""
        self._collect_expired()
        expired, self._expired = self._expired, []
        return expired

    def wake_in_s(self) -> float | None:
        """When time alone may change what `next` or `expire` answer. None: never."""
        waits = []
        rest_s = self._accounts.wake_in_s()
        if rest_s is not None:
            waits.append(rest_s)
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

    def _highest(self) -> Job[TicketT] | None:
        for queue in self._queues.values():
            for jobs in queue.values():
                if self._may_run(jobs[0]):
                    return jobs[0]
        return None

    def _count(self, job: Job[TicketT], *, in_turn: bool) -> None:
        job.was_in_turn, job.passed_others = in_turn, self._passes_others(job)
        if in_turn:
            self._passes = 0
        elif job.passed_others:
            self._passes = min(self._passes + 1, BELOW_PREMIUM_EVERY - 1)

    def _passes_others(self, job: Job[TicketT]) -> bool:
        """Whether anybody of a lower plan waits."""
        lower = list(Plan)[list(Plan).index(job.key.plan) + 1 :]
        return any(self._queues[plan] for plan in lower)

    def _oldest_below_premium(self) -> Job[TicketT] | None:
        heads = (
            jobs[0]
            for plan, queue in self._queues.items()
            if plan is not Plan.PREMIUM
            for jobs in queue.values()
            if self._may_run(jobs[0])
        )
        return min(heads, key=_by_sequence, default=None)

    def _may_run(self, job: Job[TicketT]) -> bool:
        user_id = job.key.user_id
        if user_id in self._running or not self._accounts.is_free(user_id):
            return False
        return not (job.is_suspect and any(running.is_suspect for running in self._running.values()))

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
        place = (job.key, Spent(job.tries, job.reruns))
        if self._joinable.get(place) is job:
            del self._joinable[place]

    def _await_again(self, job: Job[TicketT]) -> None:
        job.is_waiting = True
        for waiting in job.waiting:
            self._watch_deadline(job, waiting)

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
