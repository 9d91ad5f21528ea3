"""The capture scheduler against a simple model of what it promises."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from capture.job import UNTRIED, Job, JobKey, Spent
from capture.scheduler import BELOW_PREMIUM_EVERY, Scheduler
from runtime.clock import utc_now
from runtime.ids import lowest_id_at
from schemas.plans import Plan
from schemas.records import CaptureRequest
from tests.support.clock import FakeClock

USERS = [lowest_id_at(number) for number in range(1, 6)]
ACCOUNT_OF = dict(zip(USERS, (b"A", b"A", b"B", b"C", b"D"), strict=True))
"""Two users share one; the scheduler learns of it as it goes."""

Ticket = int


@dataclass(eq=False)
class Group:
    """The model of a job: who waits for it, since when, and until when it is put off."""

    key: JobKey
    order: int
    spent: Spent = UNTRIED
    tickets: dict[Ticket, float] = field(default_factory=dict)
    fresh: bool = True
    in_turn: bool = False
    passed: bool = False
    put_off_until_s: float = 0.0

    @property
    def user(self) -> UUID:
        return self.key.user_id

    @property
    def suspect(self) -> bool:
        return self.spent != UNTRIED


class Scheduling(RuleBasedStateMachine):
    """Admits, grants, ends, retries, puts back and lets accounts rest and time pass in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.waiting: list[Group] = []
        self.running: dict[int, tuple[Group, Job[Ticket]]] = {}
        self.ended: set[Ticket] = set()
        self.tickets = 0
        self.passes = 0
        self.known: set[UUID] = set()
        self.rests_until_s: dict[bytes, float] = {}

    @initialize(slots=st.integers(1, 3))
    def start(self, slots: int) -> None:
        self.slots = slots
        self.scheduler: Scheduler[Ticket] = Scheduler(slots, self.clock)

    @rule(
        plan=st.sampled_from(Plan),
        user=st.sampled_from(USERS),
        ticker=st.sampled_from(["A", "B"]),
        within_s=st.sampled_from([5, 60, 900]),
        spent=st.sampled_from([UNTRIED, UNTRIED, UNTRIED, Spent(1, 0), Spent(1, 2)]),
    )
    def admit(self, plan: Plan, user: UUID, ticker: str, within_s: int, spent: Spent) -> None:
        self.tickets += 1
        now = utc_now(self.clock)
        request = CaptureRequest(
            signal_id=lowest_id_at(1000 + self.tickets),
            user_id=user,
            plan=plan,
            request_no=1,
            received_at=now,
            capture_by=now + timedelta(seconds=within_s),
            chart_id="abcd1234",
            ticker=ticker,
            interval=None,
        )
        self.scheduler.admit(request, self.tickets, spent)
        key = JobKey(plan, request.user_id, "abcd1234", ticker, None, 1)
        joinable = (
            group for group in self.waiting if (group.key, group.spent) == (key, spent) and group.fresh
        )
        group = next(joinable, None)
        if group is None:
            group = Group(key, self.tickets, spent)
            self.waiting.append(group)
        group.tickets[self.tickets] = self.clock.monotonic_s() + within_s

    @rule()
    def grant(self) -> None:
        self._expire()
        candidates = self._grantable() if len(self.running) < self.slots else []
        job = self.scheduler.next()
        if job is None:
            assert candidates == [], "idle while work waits"
            return
        assert len(self.running) < self.slots, "more than the slots"
        group = self._group_of(job)
        assert group in candidates
        self._check_order(group, candidates)
        self._count(group, candidates)
        group.fresh = False
        self.waiting.remove(group)
        may_occupy = self._is_free(ACCOUNT_OF[group.user])
        self.known.add(group.user)
        assert self.scheduler.occupy(job, ACCOUNT_OF[group.user]) == may_occupy
        if may_occupy:
            self.running[group.order] = (group, job)
        else:
            self._put_back(group, job)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), rest_s=st.sampled_from([0, 1, 5]))
    def another_worker_has_it(self, data: st.DataObject, rest_s: int) -> None:
        group, job = self._take_running(data)
        self._rest(group, rest_s)
        self._put_back(group, job)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), rest_s=st.sampled_from([0, 5]))
    def rest(self, data: st.DataObject, rest_s: int) -> None:
        """Known at the end of a page, before its job leaves the slot."""
        number = data.draw(st.sampled_from(sorted(self.running)))
        self._rest(self.running[number][0], rest_s)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        group, job = self._take_running(data)
        self.scheduler.finish(job)
        self.ended |= group.tickets.keys()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), delay_s=st.sampled_from([0, 2, 8]))
    def retry(self, data: st.DataObject, delay_s: int) -> None:
        group, job = self._take_running(data)
        self.scheduler.retry(job, delay_s)
        group.put_off_until_s = self.clock.monotonic_s() + delay_s
        self.waiting.append(group)

    @rule(seconds=st.sampled_from([1, 3, 30, 1000]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.move(seconds)

    @rule()
    def wait_as_told(self) -> None:
        """After the wait that the scheduler names, or at once, something has changed or nothing waits."""
        wait_s = self.scheduler.wake_in_s()
        if wait_s is None:
            assert self.waiting == []
        else:
            self.clock.move(wait_s)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        groups = [*self.waiting, *(group for group, _job in self.running.values())]
        open_tickets = [ticket for group in groups for ticket in group.tickets]
        assert sorted([*open_tickets, *self.ended]) == list(range(1, self.tickets + 1))

    @invariant()
    def wants_what_waits(self) -> None:
        if not self.tickets:
            return
        for user in self.known:
            account = ACCOUNT_OF[user]
            sharers = {other for other in self.known if ACCOUNT_OF[other] == account}
            queued = [group for group in self.waiting if group.user in sharers and group.put_off_until_s == 0]
            if queued:
                assert self.scheduler.wants(account)
            if not any(group.user in sharers for group in self.waiting):
                assert not self.scheduler.wants(account)

    @invariant()
    def counts_agree(self) -> None:
        if not self.tickets:
            return
        expected = dict.fromkeys(Plan, 0)
        for group in self.waiting:
            expected[group.key.plan] += len(group.tickets)
        assert self.scheduler.waiting_by_plan() == expected

    def _expire(self) -> None:
        now_s = self.clock.monotonic_s()
        late = set()
        for group in self.waiting:
            expired = {ticket for ticket, until_s in group.tickets.items() if until_s <= now_s}
            late |= expired
            group.tickets = {
                ticket: until for ticket, until in group.tickets.items() if ticket not in expired
            }
        self.waiting = [group for group in self.waiting if group.tickets]
        assert sorted(waiting.ticket for waiting in self.scheduler.expire()) == sorted(late)
        self.ended |= late

    def _grantable(self) -> list[Group]:
        now_s = self.clock.monotonic_s()
        running = [group for group, _job in self.running.values()]
        busy = {group.user for group in running}
        return [
            group
            for group in self._heads()
            if group.user not in busy
            and (group.user not in self.known or self._is_free(ACCOUNT_OF[group.user]))
            and not (group.suspect and any(other.suspect for other in running))
            and group.put_off_until_s <= now_s
        ]

    def _heads(self) -> list[Group]:
        """What is first of its user in its plan, of what is not put off."""
        now_s = self.clock.monotonic_s()
        heads: dict[tuple[Plan, UUID], Group] = {}
        for group in sorted(self.waiting, key=lambda group: group.order):
            if group.put_off_until_s <= now_s:
                heads.setdefault((group.key.plan, group.user), group)
        return list(heads.values())

    def _is_free(self, account: bytes) -> bool:
        used = {ACCOUNT_OF[group.user] for group, _job in self.running.values()}
        return account not in used and self.rests_until_s.get(account, 0) <= self.clock.monotonic_s()

    def _rest(self, group: Group, rest_s: int) -> None:
        account = ACCOUNT_OF[group.user]
        self.scheduler.rest(account, rest_s)
        if rest_s:
            self.rests_until_s[account] = self.clock.monotonic_s() + rest_s

    def _put_back(self, group: Group, job: Job[Ticket]) -> None:
        self.scheduler.put_back(job)
        if group.in_turn:
            self.passes = BELOW_PREMIUM_EVERY - 1
        elif group.passed:
            self.passes = max(self.passes - 1, 0)
        self.waiting.append(group)

    def _group_of(self, job: Job[Ticket]) -> Group:
        tickets = {waiting.ticket for waiting in job.waiting}
        return next(group for group in self.waiting if group.tickets.keys() == tickets)

    def _is_turn(self) -> bool:
        return self.passes == BELOW_PREMIUM_EVERY - 1

    def _count(self, granted: Group, candidates: list[Group]) -> None:
        """Only who passes over somebody brings the turn of those below premium nearer."""
        plans = list(Plan)
        below = [group for group in candidates if group.key.plan is not Plan.PREMIUM]
        waits = {plans.index(group.key.plan) for group in self._heads()}
        granted.in_turn = self._is_turn() and bool(below)
        granted.passed = max(waits) > plans.index(granted.key.plan)
        if granted.in_turn:
            self.passes = 0
        elif granted.passed and not self._is_turn():
            self.passes += 1

    def _check_order(self, granted: Group, candidates: list[Group]) -> None:
        below = [group for group in candidates if group.key.plan is not Plan.PREMIUM]
        plans = list(Plan)
        if self._is_turn() and below:
            assert granted is min(below, key=lambda group: group.order), "not the oldest below premium"
        else:
            highest = min(plans.index(group.key.plan) for group in candidates)
            assert plans.index(granted.key.plan) == highest, "a lower plan before a higher one"
        own = [group for group in candidates if group.key[:2] == granted.key[:2]]
        assert granted is min(own, key=lambda group: group.order), "not first come, first served"

    def _take_running(self, data: st.DataObject) -> tuple[Group, Job[Ticket]]:
        number = data.draw(st.sampled_from(sorted(self.running)))
        return self.running.pop(number)


def test_the_scheduler_keeps_its_promises() -> None:
    """Never idle while work waits that may run, plans in order, accounts apart, nothing lost or doubled."""
    run_state_machine_as_test(
        Scheduling, settings=settings(max_examples=150, stateful_step_count=60, deadline=None)
    )
