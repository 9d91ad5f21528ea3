"""Which lane an alert gets."""

from collections import Counter
from uuid import UUID

import pytest

from ingest.limits import HARD_CEILING, Admission, Rate, TenantLimits
from schemas.plans import PLAN_TERMS, Plan

USER = UUID(int=1)
OTHER = UUID(int=2)
ANY_S = 5_000.0
"""A machine that has been up for a while."""


def lanes(
    limits: TenantLimits, count: int, *, at_s: float = ANY_S, plan: Plan = Plan.FREE, user_id: UUID = USER
) -> list[int]:
    """Send alerts in one moment; how many came to each lane, in the order of `Admission`."""
    found = Counter(limits.admit(user_id, plan, at_s) for _ in range(count))
    return [found[admission] for admission in Admission]


@pytest.mark.parametrize("plan", Plan)
def test_a_bar_close_burst_goes_through_the_main_lane(plan: Plan) -> None:
    """All alerts of a tenant fire in the same second: the plan's burst is granted at once."""
    burst = PLAN_TERMS[plan].burst
    assert lanes(TenantLimits(), burst + 3, plan=plan) == [burst, 3, 0]


def test_the_largest_watchlist_alert_of_a_premium_tenant_is_not_slowed() -> None:
    """1,000 triggers spread over three minutes never leave the main lane."""
    limits = TenantLimits()
    found = {limits.admit(USER, Plan.PREMIUM, ANY_S + number * 0.18) for number in range(1_000)}
    assert found == {Admission.MAIN}


def test_the_rate_is_granted_after_the_burst() -> None:
    """An empty meter regains the plan's rate, no more and no less, also in small steps."""
    limits = TenantLimits()
    lanes(limits, 200)
    granted = sum(lanes(limits, 1, at_s=ANY_S + step / 64)[0] for step in range(1, 64 * 30 + 1))
    assert granted == 30 * PLAN_TERMS[Plan.FREE].rate_per_s


def test_a_million_seconds_do_not_drift() -> None:
    """Whole numbers: an alert at exactly the rate is granted for ever, one a nanosecond early is not."""
    limits = TenantLimits(ceiling=Rate(1, 1))
    moments_s = [0.0, 1.0, 1_000_000.0, 1_000_001.0]
    assert [limits.admit(USER, Plan.FREE, at_s) for at_s in moments_s] == [Admission.MAIN] * 4
    assert limits.admit(USER, Plan.FREE, 1_000_001.999_999) is Admission.REFUSED
    assert limits.admit(USER, Plan.FREE, 1_000_002.0) is Admission.MAIN


def test_an_idle_tenant_has_its_whole_burst_and_not_more() -> None:
    """A week of silence saves up nothing beyond the burst."""
    limits = TenantLimits()
    lanes(limits, 500)
    assert lanes(limits, 500, at_s=ANY_S + 7 * 86_400) == [120, 380, 0]


def test_beyond_the_hard_ceiling_an_alert_is_refused() -> None:
    """Also what overflows counts against the ceiling."""
    limits = TenantLimits(ceiling=Rate(10, 300))
    assert lanes(limits, 350) == [120, 180, 50]
    assert lanes(limits, 20, at_s=ANY_S + 1) == [2, 8, 10]


def test_the_ceiling_is_that_of_the_design() -> None:
    """1,000 a second over a minute, whatever the plan."""
    assert lanes(TenantLimits(), HARD_CEILING.burst + 1, plan=Plan.PREMIUM) == [1_000, 59_000, 1]


def test_what_is_refused_delays_nothing() -> None:
    """A flood does not push its tenant's next granted alert away."""
    limits = TenantLimits(ceiling=Rate(10, 300))
    lanes(limits, 5_000)
    assert lanes(limits, 1, at_s=ANY_S + 0.5) == [1, 0, 0]


def test_tenants_do_not_share_a_limit() -> None:
    """All customers come from the same addresses: only the tenant counts."""
    limits = TenantLimits()
    lanes(limits, 1_000)
    assert lanes(limits, 1, user_id=OTHER) == [1, 0, 0]


@pytest.mark.parametrize(("processes", "share"), [(2, 60), (4, 30), (7, 17), (500, 1)])
def test_processes_on_one_port_grant_a_share_each(processes: int, share: int) -> None:
    """Rounded down, so that together they stay within the limit, but never to nothing."""
    assert lanes(TenantLimits(processes), 120) == [share, 120 - share, 0]


def test_the_rate_is_shared_as_the_burst_is() -> None:
    """One of four processes regains a quarter of the rate and of the ceiling."""
    limits = TenantLimits(4, Rate(8, 400))
    assert lanes(limits, 150) == [30, 70, 50]
    assert lanes(limits, 20, at_s=ANY_S + 2) == [1, 3, 16]


def test_a_better_plan_counts_at_once_and_is_not_a_second_burst() -> None:
    """What was sent under the old plan is taken off the new burst."""
    limits = TenantLimits()
    lanes(limits, 120)
    assert lanes(limits, 1_000, plan=Plan.PREMIUM) == [880, 120, 0]


def test_a_smaller_plan_counts_at_once_and_carries_no_older_debt() -> None:
    """Who was served 900 alerts as premium waits no longer than any other free tenant that is empty."""
    limits = TenantLimits()
    lanes(limits, 900, plan=Plan.PREMIUM)
    assert lanes(limits, 1) == [0, 1, 0]
    assert lanes(limits, 5, at_s=ANY_S + 1) == [2, 3, 0]


def test_time_before_the_change_of_a_plan_counts_at_its_own_rate() -> None:
    """Thirty seconds as a free tenant are worth 60 alerts, not 600."""
    limits = TenantLimits()
    lanes(limits, 120)
    assert lanes(limits, 2_000, at_s=ANY_S + 30, plan=Plan.PREMIUM) == [940, 1_060, 0]


@pytest.mark.parametrize("back_s", [0.5, 3_600.0])
def test_a_step_back_in_time_neither_blocks_nor_gives(back_s: float) -> None:
    """The meter goes on from where it was: a call that is late by less than a second counts as now."""
    limits = TenantLimits()
    lanes(limits, 120)
    assert lanes(limits, 5, at_s=ANY_S - back_s) == [0, 5, 0]
    assert lanes(limits, 5, at_s=ANY_S - back_s + 1 + (back_s < 1) * back_s) == [2, 3, 0]


def test_late_calls_give_no_more_than_the_time_that_passed() -> None:
    """Two callers whose times differ by 10 ms do not make the clock run faster."""
    limits = TenantLimits()
    lanes(limits, 120)
    granted = sum(lanes(limits, 1, at_s=ANY_S + step / 1_000 - (step % 2) / 100)[0] for step in range(10_001))
    assert granted == 20


def test_idle_tenants_are_forgotten() -> None:
    """Memory is for those that owe something: the calls of the oldest clear away the rest."""
    limits = TenantLimits()
    lanes(limits, 1)
    for number in range(1_000):
        lanes(limits, 1, user_id=UUID(int=100 + number))
    assert len(limits) == 1_001
    for number in range(1_000):
        lanes(limits, 1, at_s=ANY_S + 1 + number / 1_000)
    assert len(limits) == 1


def test_a_tenant_that_owes_something_is_not_forgotten() -> None:
    """Other tenants' alerts do not make an empty meter full."""
    limits = TenantLimits()
    lanes(limits, 120)
    for number in range(20):
        lanes(limits, 1, at_s=ANY_S + 1, user_id=UUID(int=100 + number))
    assert lanes(limits, 5, at_s=ANY_S + 1) == [2, 3, 0]


def test_a_tenant_that_owes_only_below_the_ceiling_is_not_forgotten() -> None:
    """The slower of its two meters decides."""
    limits = TenantLimits(ceiling=Rate(1, 10))
    lanes(limits, 10)
    lanes(limits, 1, at_s=ANY_S + 5, user_id=OTHER)
    lanes(limits, 1, at_s=ANY_S + 5, user_id=OTHER)
    assert lanes(limits, 10, at_s=ANY_S + 5) == [5, 0, 5]


@pytest.mark.parametrize(("processes", "rate"), [(0, HARD_CEILING), (1, None)])
def test_limits_that_grant_nothing_are_not_built(processes: int, rate: Rate | None) -> None:
    """A zero would refuse every alert for good."""
    with pytest.raises(ValueError, match="at least"):
        TenantLimits(processes, rate or Rate(0, 1))
