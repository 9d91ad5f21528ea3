"""The course of one granted job: tries, reruns and the end of every request that waits for its picture."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

from capture.attempt import Studio, Taken
from capture.events import Ending, ended_event, started_event
from capture.outcomes import RULES, After, CaptureFailedError, CaptureRefusedError, Outcome
from capture.patience import LeavingError, Patience
from capture.scheduler import Job, Waiting
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
    publish: Publish
    clock: Clock
    metrics: Metrics
    random: Callable[[], float]


class Course:
    """Follows a job until its slot is free again."""

    def __init__(self, job: Job[Ticket], parts: WorkerParts, patience: Patience, tries_max: int) -> None:
        self._job = job
        self._parts = parts
        self._patience = patience
        self._tries_max = tries_max
        self._session_version: int | None = None
        self._queue_ms = round((parts.clock.monotonic_s() - job.admitted_at_s) * 1000)

    async def follow(self) -> float | None:
        """None: every request has ended. Else the job is to be granted again after so many seconds.

        Raises `LeavingError` when the worker stops meanwhile, and what waiting cannot cure.
        """
        while self._job.waiting:
            try:
                await self._try_once()
            except CaptureRefusedError as refusal:
                self._job.tries -= 1
                await self._end(Ending(CaptureEventKind.SKIPPED, refusal.outcome, self._job.tries))
            except CaptureFailedError as failure:
                delay_s = await self._after(failure)
                if delay_s is not None:
                    return delay_s
        return None

    async def _try_once(self) -> None:
        self._job.tries += 1
        studio, first = self._parts.studio, self._job.waiting[0].request
        picture = await self._sheltered(lambda: studio.existing(first))
        if picture is not None:
            await self._end_found(picture)
            return
        session = await self._sheltered(lambda: studio.sessions.read(first.user_id))
        self._session_version = session.version
        if self._job.tries == 1 and self._job.reruns == 0:
            await self._publish(started_event(_requests(self._job.waiting), self._now(), session.version))
        await self._end_taken(await self._sheltered(lambda: studio.take(first, session)))

    async def _sheltered(self, work: Callable[[], Awaitable[T]]) -> T:
        """What is a bug of ours must cost a try, never the worker."""
        try:
            return await self._patience.insist(work)
        except (CaptureFailedError, LeavingError):
            raise
        except Exception as error:
            if classify(error) is Failure.FATAL:
                raise
            log.exception("capture_bug")
            raise CaptureFailedError(Outcome.INTERNAL_ERROR, reason_of(error)) from error

    async def _after(self, failure: CaptureFailedError) -> float | None:
        """Seconds until the next try; None when the job goes on at once or has ended."""
        job, rule = self._job, RULES[failure.outcome]
        self._parts.metrics.captures.labels(outcome=failure.outcome.value).inc()
        log.info(
            "capture_failed",
            outcome=failure.outcome,
            detail=failure.detail,
            tries=job.tries,
            reruns=job.reruns,
        )
        if failure.outcome is Outcome.SESSION_EXPIRED and self._session_version is not None:
            self._parts.studio.sessions.expired(job.key.user_id, self._session_version)
        if rule.after is After.RERUN and job.reruns < RERUNS_MAX:
            job.reruns += 1
            job.tries -= 1
            return None
        if rule.after is After.RETRY and job.tries < self._tries_max:
            return self._delay_s()
        await self._end(Ending(rule.event, failure.outcome, job.tries, self._session_version))
        return None

    async def _end_taken(self, taken: Taken) -> None:
        metrics = self._parts.metrics
        timings_ms = {"queue": self._queue_ms, **taken.timings_ms}
        metrics.captures.labels(outcome=Outcome.COMPLETED.value).inc()
        for phase, spent_ms in timings_ms.items():
            metrics.capture_seconds.labels(phase=phase).observe(spent_ms / 1000)
        log.info("capture_completed", requests=len(self._job.waiting), tries=self._job.tries, **timings_ms)
        await self._end(
            Ending(
                CaptureEventKind.COMPLETED,
                Outcome.COMPLETED,
                self._job.tries,
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
        ending = Ending(CaptureEventKind.COMPLETED, Outcome.COMPLETED, self._job.tries, picture=picture)
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
        await self._patience.insist(lambda: self._parts.publish(event))

    def _delay_s(self) -> float:
        delay_s = _RETRY_DELAYS_S[min(self._job.tries, len(_RETRY_DELAYS_S)) - 1]
        return delay_s * (1 + _JITTER * (2 * self._parts.random() - 1))

    def _now(self) -> datetime:
        return utc_now(self._parts.clock)


def _requests(waiting: list[Waiting[Ticket]]) -> list[CaptureRequest]:
    return [item.request for item in waiting]
