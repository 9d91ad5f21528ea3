"""The limits of a tenant against their two promises, for any way of sending."""

from fractions import Fraction
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.limits import Admission, Rate, TenantLimits
from schemas.plans import PLAN_TERMS, Plan, PlanTerms, QuotaMode

USER = UUID(int=1)

NS_PER_S = 1_000_000_000
RATES = st.builds(Rate, per_s=st.integers(1, 50), burst=st.integers(1, 60))
PROCESSES = st.integers(1, 5)
# Gaps of a burst, around the rates, and long enough to be idle.
GAPS_S = st.one_of(st.just(0.0), st.floats(0.0, 0.2), st.floats(0.0, 5.0), st.sampled_from([100.0, 1e6]))
START_S = st.floats(0.0, 1e7)


def one_plan(rate: Rate) -> dict[Plan, PlanTerms]:
    terms = PlanTerms(rate.per_s, rate.burst, None, QuotaMode.OFF, 1, 1, 1, 1)
    return {Plan.FREE: terms}


@given(main=RATES, ceiling=RATES, processes=PROCESSES, start_s=START_S, gaps_s=st.lists(GAPS_S, max_size=120))
@settings(max_examples=150, deadline=None)
def test_no_window_grants_more_than_burst_and_rate(
    main: Rate, ceiling: Rate, processes: int, start_s: float, gaps_s: list[float]
) -> None:
    """In every window from one alert to a later one: at most one process's share of both limits."""
    limits = TenantLimits(processes, ceiling, one_plan(main))
    sent: list[tuple[int, Admission]] = []
    now_s = start_s
    for gap_s in gaps_s:
        now_s += gap_s
        sent.append((round(now_s * NS_PER_S), limits.admit(USER, Plan.FREE, now_s)))
    for lanes, rate in [({Admission.MAIN}, main), ({Admission.MAIN, Admission.OVERFLOW}, ceiling)]:
        granted_ns = [at_ns for at_ns, admission in sent if admission in lanes]
        assert all(within(rate, processes, granted_ns[start:]) for start in range(len(granted_ns)))


def within(rate: Rate, processes: int, granted_ns: list[int]) -> bool:
    """Whether no window that begins with the first of these alerts holds too many."""
    burst = max(Fraction(rate.burst, processes), Fraction(1))
    per_ns = Fraction(rate.per_s, processes * NS_PER_S)
    first_ns = granted_ns[0]
    return all(
        count <= burst + per_ns * (at_ns - first_ns) for count, at_ns in enumerate(granted_ns, start=1)
    )


@given(
    plan=st.sampled_from(Plan), before=st.integers(0, 3_000), start_s=START_S, neighbours=st.integers(0, 5)
)
@settings(max_examples=60, deadline=None)
def test_an_idle_tenant_gets_its_full_burst(plan: Plan, before: int, start_s: float, neighbours: int) -> None:
    """Whatever it sent before, after the time to refill the whole burst goes to the main lane."""
    limits = TenantLimits()
    terms = PLAN_TERMS[plan]
    for _ in range(before):
        limits.admit(USER, plan, start_s)
    later_s = start_s + terms.burst / terms.rate_per_s + 1e-6
    for number in range(neighbours):
        limits.admit(UUID(int=10 + number), plan, later_s)
    granted = [limits.admit(USER, plan, later_s) for _ in range(terms.burst + 1)]
    assert granted == [Admission.MAIN] * terms.burst + [Admission.OVERFLOW]


@given(
    ceiling=st.sampled_from([Rate(1, 3), Rate(90, 900)]),
    moves=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.05, 0.4, 1.0])), min_size=30, max_size=60
    ),
)
@settings(max_examples=100, deadline=None)
def test_forgetting_changes_no_answer(ceiling: Rate, moves: list[tuple[int, float]]) -> None:
    """A tenant among others is answered as one that has the limits for itself."""
    rates = (1, ceiling, one_plan(Rate(2, 2)))
    shared, now_s = TenantLimits(*rates), 0.0
    alone = [TenantLimits(*rates) for _ in range(3)]
    for number, gap_s in moves:
        now_s += gap_s
        expected = alone[number].admit(USER, Plan.FREE, now_s)
        assert shared.admit(UUID(int=number), Plan.FREE, now_s) is expected
