"""The course of one granted job: tries, reruns and the end of every request that waits for its picture."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

from capture.attempt import Studio, Taken
from capture.events import Ending, ended_event, started_event
from capture.job import Job, Waiting
from capture.lease import AccountBusyError, Accounts, Lease, LeaseLostError, PageOrder
from capture.outcomes import RULES, After, CaptureFailedError, CaptureRefusedError, Outcome
from capture.patience import LeavingError, Patience
from capture.progress import Progress, ProgressReader
from capture.scheduler import Scheduler
from capture.session import TradingViewSession
from runtime.clock import Clock, utc_now
from runtime.errors import Failure, classify, reason_of
from runtime.logging import get_logger
from runtime.metrics import Metrics
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest, Picture

RERUNS_MAX: Final = 3
"""Faults of ours that a request may meet before it counts as failed."""

_RETRY_DELAYS_S: Final = (2.0, 4.0, 8.0)
_JITTER: Final = 0.25

T = TypeVar("T")
Publish = Callable[[CaptureEvent], Awaitable[None]]
"""Returns once the event is durable. May raise; the same event is then published again."""

log = get_logger(__name__)


class Ticket(Protocol):
    """Whoever delivered a request."""

    def done(self) -> None:
        """The end of the request is durable. Called once; never for unfinished work."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker works with. `random` gives numbers between 0 and 1, for jitter."""

    studio: Studio
    accounts: Accounts
    progress: ProgressReader
    publish: Publish
    clock: Clock
    metrics: Metrics
    random: Callable[[], float]


@dataclass(frozen=True, slots=True)
class House:
    """What the courses of one worker share."""

    parts: WorkerParts
    patience: Patience
    scheduler: Scheduler[Ticket]
    tries_max: int


class Course:
    """Follows a job until its slot is free again."""

    def __init__(self, job: Job[Ticket], house: House) -> None:
        self._job = job
        self._house = house
        self._parts = house.parts
        self._fence = 0
        self._session_version: int | None = None
        self._queue_ms = round((house.parts.clock.monotonic_s() - job.admitted_at_s) * 1000)

    async def follow(self) -> float | None:
        """None: every request has ended. Else the job is to be granted again after so many seconds.

        Raises `AccountBusyError` when it is to be put back, `LeavingError` when the worker stops meanwhile,
        and what waiting cannot cure.
        """
        while self._job.waiting:
            try:
                await self._try_once()
            except CaptureRefusedError as refusal:
                self._count(refusal.outcome, len(self._job.waiting))
                await self._end(Ending(CaptureEventKind.SKIPPED, refusal.outcome, self._job.tries))
            except LeaseLostError:
                await self._after_loss()
            except CaptureFailedError as failure:
                delay_s = await self._after(failure)
                if delay_s is not None:
                    return delay_s
        return None

    async def _try_once(self) -> None:
        """One try. Only what comes after `_begin` counts as one."""
        await self._catch_up()
        if not self._job.waiting:
            return
        studio, first = self._parts.studio, self._job.waiting[0].request
        picture = await self._sheltered(lambda: studio.existing(first))
        if picture is not None:
            await self._end_found(picture)
            return
        if self._job.tries >= self._house.tries_max:
            # the tries went by elsewhere, and nobody told how: the page may have ended its workers
            raise CaptureFailedError(Outcome.INTERNAL_ERROR, "tries used up")
        session = await self._sheltered(lambda: studio.sessions.read(first.user_id))
        self._session_version = session.version
        lease = await self._begin(session)
        await self._end_taken(await self._take(lease, session))

    async def _catch_up(self) -> None:
        """Leave out what has ended meanwhile, and count what other workers have tried."""
        requests = _requests(self._job.waiting)
        found = await self._sheltered(lambda: self._parts.progress.read(requests))
        open_ones = []
        for waiting, progress in zip(self._job.waiting, found, strict=True):
            if progress.is_final:
                waiting.ticket.done()
            else:
                open_ones.append(waiting)
                self._count_in(progress)
        self._job.waiting = open_ones

    def _count_in(self, progress: Progress) -> None:
        """A rerun turns a try that was stored into one that does not count: the sum tells what is newer."""
        job = self._job
        if progress.tries + progress.reruns > job.tries + job.reruns:
            job.tries, job.reruns = progress.tries, progress.reruns

    async def _begin(self, session: TradingViewSession) -> Lease:
        """Get the account, store the try, tell of the start."""
        job, accounts, scheduler = self._job, self._parts.accounts, self._house.scheduler
        account = accounts.key_of(session)
        if not scheduler.occupy(job, account):
            raise AccountBusyError(0.0)
        signal_ids = [waiting.request.signal_id for waiting in job.waiting]
        order = PageOrder(account, signal_ids, job.key.request_no, job.tries + 1, job.reruns)
        try:
            lease = await self._sheltered(lambda: accounts.begin(order))
        except AccountBusyError as busy:
            scheduler.rest(account, busy.wait_s)
            raise
        job.tries += 1
        self._fence = lease.fence
        if job.tries == 1 and job.reruns == 0:
            await self._publish(
                started_event(_requests(job.waiting), self._now(), session.version, lease.fence)
            )
        return lease

    async def _take(self, lease: Lease, session: TradingViewSession) -> Taken:
        """Nothing of it is told before the store has confirmed that the account was ours to the end."""
        studio, first = self._parts.studio, self._job.waiting[0].request
        try:
            async with lease.guard():
                taken = await self._sheltered(lambda: studio.take(first, session))
        except (CaptureFailedError, LeaseLostError):
            await self._give_back(lease)
            raise
        await self._give_back(lease)
        return taken

    async def _give_back(self, lease: Lease) -> None:
        accounts, scheduler = self._parts.accounts, self._house.scheduler
        keep = scheduler.wants(lease.account)
        rest_s = await self._sheltered(lambda: accounts.end(lease, keep=keep))
        scheduler.rest(lease.account, rest_s)

    async def _sheltered(self, work: Callable[[], Awaitable[T]]) -> T:
        """What is a bug of ours must cost a try, never the worker."""
        try:
            return await self._house.patience.insist(work)
        except (CaptureFailedError, LeavingError, AccountBusyError, LeaseLostError):
            raise
        except Exception as error:
            if classify(error) is Failure.FATAL:
                raise
            log.exception("capture_bug")
            raise CaptureFailedError(Outcome.INTERNAL_ERROR, reason_of(error)) from error

    async def _after(self, failure: CaptureFailedError) -> float | None:
        """Seconds until the next try; None when the job goes on at once or has ended."""
        job, rule = self._job, RULES[failure.outcome]
        self._count(failure.outcome)
        log.info(
            "capture_failed",
            outcome=failure.outcome,
            detail=failure.detail,
            tries=job.tries,
            reruns=job.reruns,
        )
        if failure.outcome is Outcome.SESSION_EXPIRED and self._session_version is not None:
            self._parts.studio.sessions.expired(job.key.user_id, self._session_version)
        if rule.after is After.RERUN and self._rerun():
            return None
        if rule.after is After.RETRY and job.tries < self._house.tries_max:
            return self._delay_s()
        await self._end_failed(rule.event, failure.outcome)
        return None

    async def _after_loss(self) -> None:
        """The database was away for too long, or this worker stood still: no fault of the page."""
        log.warning("capture_lost_lease", tries=self._job.tries, reruns=self._job.reruns)
        if not self._rerun():
            await self._end_failed(CaptureEventKind.FAILED, Outcome.INTERNAL_ERROR)

    def _rerun(self) -> bool:
        """Take the try back, if it may be."""
        if self._job.reruns >= RERUNS_MAX:
            return False
        self._job.reruns += 1
        self._job.tries -= 1
        return True

    async def _end_failed(self, kind: CaptureEventKind, outcome: Outcome) -> None:
        await self._end(Ending(kind, outcome, self._job.tries, self._fence, self._session_version))

    async def _end_taken(self, taken: Taken) -> None:
        metrics = self._parts.metrics
        timings_ms = {"queue": self._queue_ms, **taken.timings_ms}
        outcome = Outcome.COMPLETED if taken.warning is None else Outcome.DEGRADED
        self._count(outcome)
        for phase, spent_ms in timings_ms.items():
            metrics.capture_seconds.labels(phase=phase).observe(spent_ms / 1000)
        log.info(
            "capture_completed",
            outcome=outcome.value,
            requests=len(self._job.waiting),
            tries=self._job.tries,
            **timings_ms,
        )
        await self._end(
            Ending(
                CaptureEventKind.COMPLETED,
                Outcome.COMPLETED,
                self._job.tries,
                self._fence,
                self._session_version,
                taken.picture,
                taken.warning,
                timings_ms,
            )
        )

    async def _end_found(self, picture: Picture) -> None:
        """End what an earlier picture serves: not what was asked for after it was taken."""
        others = self._job.waiting[1:]
        later = [waiting for waiting in others if waiting.request.received_at > picture.captured_at]
        served = [waiting for waiting in self._job.waiting if waiting not in later]
        ending = Ending(
            CaptureEventKind.COMPLETED, Outcome.COMPLETED, max(self._job.tries, 1), picture=picture
        )
        await self._tell(served, ending)
        self._job.waiting = later
        self._job.tries = 0

    async def _end(self, ending: Ending) -> None:
        await self._tell(self._job.waiting, ending)
        self._job.waiting = []

    async def _tell(self, served: list[Waiting[Ticket]], ending: Ending) -> None:
        await self._publish(ended_event(_requests(served), self._now(), ending))
        for waiting in served:
            waiting.ticket.done()

    async def _publish(self, event: CaptureEvent) -> None:
        await self._house.patience.insist(lambda: self._parts.publish(event))

    def _count(self, outcome: Outcome, times: int = 1) -> None:
        self._parts.metrics.captures.labels(outcome=outcome.value).inc(times)

    def _delay_s(self) -> float:
        delay_s = _RETRY_DELAYS_S[min(self._job.tries, len(_RETRY_DELAYS_S)) - 1]
        return delay_s * (1 + _JITTER * (2 * self._parts.random() - 1))

    def _now(self) -> datetime:
        return utc_now(self._parts.clock)


def _requests(waiting: list[Waiting[Ticket]]) -> list[CaptureRequest]:
    return [item.request for item in waiting]
