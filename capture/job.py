"""A picture to take, and the requests that wait for it."""

from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from schemas.plans import Plan
from schemas.records import CaptureRequest

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

    `is_suspect`: a try was begun elsewhere and nobody told its end, maybe since its page ended the worker.
    The rest is the scheduler's. `is_waiting`: queued or delayed, neither granted nor over. `was_in_turn`:
    granted since it was the turn of those below premium. `passed_others`: granted while a lower plan waited.
    """

    key: JobKey
    sequence: int
    admitted_at_s: float
    waiting: list[Waiting[TicketT]] = field(default_factory=list)
    tries: int = 0
    reruns: int = 0
    is_suspect: bool = False
    is_waiting: bool = True
    was_in_turn: bool = False
    passed_others: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """Tries and reruns that a request has behind it when it is admitted."""

    tries: int = 0
    reruns: int = 0


UNTRIED: Final = Spent()


def key_of(request: CaptureRequest) -> JobKey:
    return JobKey(
        request.plan,
        request.user_id,
        request.chart_id,
        request.ticker,
        request.interval,
        request.request_no,
    )
