"""How much each tenant may send, and in which lane (design: plan table).

The generic cell rate algorithm in its form of a leaky meter: what a tenant has sent is a debt that shrinks
at the plan's rate. All in whole numbers, so that it cannot drift: a nanosecond takes `per_s` units off a
debt and an alert adds `processes` × 10⁹, since each of the processes on one port grants its share.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from schemas.plans import PLAN_TERMS, Plan, PlanTerms

_NS_PER_S: Final = 1_000_000_000

LATE_CALL_NS: Final = _NS_PER_S
"""A time that is this much older than the newest is a clock set back, less is a call that comes late."""

FORGOTTEN_PER_CALL: Final = 2
"""More than the one a call can add, so that the memory shrinks to those who still owe something."""


class Admission(StrEnum):
    MAIN = "main"
    OVERFLOW = "overflow"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` alerts at once and `per_s` more each second. Raises `ValueError` when either is below 1."""

    per_s: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_s < 1 or self.burst < 1:
            raise ValueError("a rate and its burst are at least 1")


HARD_CEILING: Final = Rate(per_s=1_000, burst=60_000)
"""1,000 per s over 60 s, for every plan."""


@dataclass(frozen=True, slots=True)
class _Meter:
    """One limit in units. `full` is the debt at which no more is granted."""

    per_s: int
    full: int

    @classmethod
    def of(cls, rate: Rate, cost: int) -> "_Meter":
        # A share of less than one alert would never grant anything.
        return cls(rate.per_s, max(rate.burst * _NS_PER_S, cost))


class _Account:
    """What one tenant owed at `at_ns`, in units."""

    __slots__ = ("at_ns", "main", "meter", "total")

    def __init__(self, meter: _Meter, at_ns: int) -> None:
        self.meter = meter
        self.at_ns = at_ns
        self.main = 0
        self.total = 0


class TenantLimits:
    """Chooses the lane of each alert. In memory of one process, never by address.

    Above its plan's rate a tenant overflows, above `ceiling` it is refused. Only what is granted counts:
    a refused alert delays nothing, one that overflows counts against the ceiling alone. `processes` is
    the number of ingress processes that share the port; each grants its part, at least one alert at once.
    """

    def __init__(
        self,
        processes: int = 1,
        ceiling: Rate = HARD_CEILING,
        plans: Mapping[Plan, PlanTerms] = PLAN_TERMS,
    ) -> None:
        """Raises `ValueError` for less than one process or a limit below one."""
        if processes < 1:
            raise ValueError("there is at least one process")
        self._cost = processes * _NS_PER_S
        self._ceiling = _Meter.of(ceiling, self._cost)
        self._meters = {
            plan: _Meter.of(Rate(terms.rate_per_s, terms.burst), self._cost) for plan, terms in plans.items()
        }
        # By the integer of the id, which hashes in C; in the order of their last alert.
        self._accounts: OrderedDict[int, _Account] = OrderedDict()
        self._told_ns: int | None = None
        self._now_ns = 0

    def __len__(self) -> int:
        """Tenants in memory: those that owe something, and a few not yet forgotten."""
        return len(self._accounts)

    def admit(self, user_id: UUID, plan: Plan, now_s: float) -> Admission:
        """Grant one alert or refuse it. `now_s` is monotonic; a step back gives and takes nothing.

        A new plan counts from this call on. The debt is carried over, at most up to the new burst; the
        time since the last alert still counts at the old rate.
        """
        self._tell(now_s)
        account = self._account(user_id, self._meters[plan])
        self._forget_idle()
        total = account.total + self._cost
        if total > self._ceiling.full:
            return Admission.REFUSED
        account.total = total
        main = account.main + self._cost
        if main > account.meter.full:
            return Admission.OVERFLOW
        account.main = main
        return Admission.MAIN

    def _tell(self, now_s: float) -> None:
        """Move our own time, which only runs forward, by what the given time moved forward."""
        told_ns = round(now_s * _NS_PER_S)
        newest_ns = told_ns if self._told_ns is None else self._told_ns
        if told_ns >= newest_ns:
            self._now_ns += told_ns - newest_ns
        elif newest_ns - told_ns < LATE_CALL_NS:
            return
        self._told_ns = told_ns

    def _account(self, user_id: UUID, meter: _Meter) -> _Account:
        """The tenant's account as of now, last in the order."""
        key = user_id.int
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account(meter, self._now_ns)
            return account
        self._accounts.move_to_end(key)
        idle_ns = self._now_ns - account.at_ns
        account.main = min(max(account.main - idle_ns * account.meter.per_s, 0), meter.full)
        account.total = max(account.total - idle_ns * self._ceiling.per_s, 0)
        account.meter = meter
        account.at_ns = self._now_ns
        return account

    def _forget_idle(self) -> None:
        """Drop the longest idle accounts that are as good as new."""
        for _ in range(FORGOTTEN_PER_CALL):
            key, account = next(iter(self._accounts.items()))
            idle_ns = self._now_ns - account.at_ns
            # Of this very moment is also the one that is about to be charged.
            if not idle_ns or not self._as_good_as_new(account, idle_ns):
                return
            del self._accounts[key]

    def _as_good_as_new(self, account: _Account, idle_ns: int) -> bool:
        regained_main = idle_ns * account.meter.per_s
        return account.main <= regained_main and account.total <= idle_ns * self._ceiling.per_s
