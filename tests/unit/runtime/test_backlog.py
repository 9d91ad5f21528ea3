from collections.abc import Mapping

import pytest

from runtime.backlog import ASSUMED_RATE_PER_S, STALE_AFTER_S, Backlog, Measurement, PipelineHealth
from schemas.plans import Plan
from tests.support.clock import FakeClock

PREMIUM, PRO, BASIC, FREE = Plan


def measurement(
    clock: FakeClock, waiting: Mapping[Plan, int], *, done: int = 0, workers: int = 1
) -> Measurement:
    """`done` captures of the free plan so far, and what waits."""
    committed = {plan: done if plan is FREE else 0 for plan in Plan}
    end = {plan: committed[plan] + waiting.get(plan, 0) for plan in Plan}
    return Measurement(committed, end, workers, clock.monotonic_s())


def test_a_capture_waits_for_its_plan_and_those_above() -> None:
    """A premium capture does not queue behind free ones; one render is its own."""
    clock = FakeClock()
    backlog = Backlog(clock)
    backlog.observe(measurement(clock, {PREMIUM: 3, PRO: 10, FREE: 100}))
    waits_s = [backlog.estimated_wait_s(plan) for plan in Plan]
    assert waits_s == [2, 7, 7, 57]
    assert ASSUMED_RATE_PER_S == 2.0


def test_before_any_rate_is_seen_each_worker_is_assumed_to_be_quick() -> None:
    """More workers, shorter waits; no worker counts as one that is about to come."""
    clock = FakeClock()
    for workers, expected_s in ((0, 11), (1, 11), (4, 3)):
        backlog = Backlog(clock)
        backlog.observe(measurement(clock, {PREMIUM: 20}, workers=workers))
        assert backlog.estimated_wait_s(PREMIUM) == expected_s


def test_the_rate_is_what_was_done_while_there_was_work() -> None:
    """Newer measurements count for more, and idle time says nothing about speed."""
    clock = FakeClock()
    backlog = Backlog(clock)
    backlog.observe(measurement(clock, {FREE: 100}))
    clock.move(2)
    backlog.observe(measurement(clock, {FREE: 80}, done=20))
    assert backlog.estimated_wait_s(FREE) == 9  # 81 at 10 a second
    clock.move(2)
    backlog.observe(measurement(clock, {FREE: 80}, done=20))
    assert backlog.estimated_wait_s(FREE) == 12  # 81 at 7 a second
    clock.move(2)
    backlog.observe(measurement(clock, {}, done=100))
    for _ in range(30):
        clock.move(2)
        backlog.observe(measurement(clock, {}, done=100))
    clock.move(2)
    backlog.observe(measurement(clock, {FREE: 168}, done=100))
    assert backlog.estimated_wait_s(FREE) == 10  # 169 at 16.9 a second


def test_a_group_that_starts_anew_has_no_negative_rate() -> None:
    """Offsets can go back; the estimate stays a positive number."""
    clock = FakeClock()
    backlog = Backlog(clock)
    backlog.observe(measurement(clock, {FREE: 10}, done=100))
    clock.move(2)
    backlog.observe(measurement(clock, {FREE: 10}, done=0))
    assert backlog.estimated_wait_s(FREE) == 6


def test_a_stuck_group_does_not_promise_the_impossible() -> None:
    """The estimate grows with every round in which nothing was done, up to a bound."""
    clock = FakeClock()
    backlog = Backlog(clock)
    waits_s = []
    for done in [10, 20, *[20] * 40]:
        backlog.observe(measurement(clock, {FREE: 99}, done=done))
        waits_s.append(backlog.estimated_wait_s(FREE))
        clock.move(2)
    assert waits_s[:3] == [50, 20, 29]
    assert waits_s[1:] == sorted(waits_s[1:])
    assert waits_s[-1] == 1000


def test_a_group_that_never_moved_is_stuck_too() -> None:
    """No rate seen is not the same as a rate of nothing."""
    clock = FakeClock()
    backlog = Backlog(clock)
    backlog.observe(measurement(clock, {FREE: 99}))
    clock.move(2)
    backlog.observe(measurement(clock, {FREE: 99}))
    assert backlog.estimated_wait_s(FREE) == 1000


def test_before_the_first_measurement_nothing_is_known() -> None:
    """The webhook answers with an estimate all the same."""
    backlog = Backlog(FakeClock())
    assert backlog.health() == PipelineHealth(0, 0, known=False)
    assert backlog.estimated_wait_s(FREE) == 1


def test_a_stale_measurement_is_unknown() -> None:
    """The last figures are shown, and that they may be wrong."""
    clock = FakeClock()
    backlog = Backlog(clock)
    backlog.observe(measurement(clock, {PRO: 2, FREE: 3}, workers=2))
    assert backlog.health() == PipelineHealth(5, 2, known=True)
    clock.move(STALE_AFTER_S)
    assert backlog.health().known
    clock.move(0.001)
    assert backlog.health() == PipelineHealth(5, 2, known=False)


@pytest.mark.parametrize("plan", Plan)
def test_what_is_committed_beyond_the_end_is_nothing_waiting(plan: Plan) -> None:
    """End and committed offsets are asked one after the other, so they may cross."""
    counts = dict.fromkeys(Plan, 5)
    assert Measurement(counts, {**counts, plan: 3}, 1, 0.0).waiting(plan) == 0
