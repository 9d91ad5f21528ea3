"""When a signal is kept no longer."""

from datetime import timedelta

import pytest

from runtime.clock import utc_from_ms
from runtime.ids import received_at_of
from schemas.plans import Plan
from sinks.retention import Terms, expires_before, is_expired
from tests.support.clock import START_MS

NOW = utc_from_ms(START_MS)
MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("plan", "days"), [(Plan.FREE, 90), (Plan.BASIC, 180), (Plan.PRO, 365), (Plan.PREMIUM, 730)]
)
def test_a_signal_expires_when_its_plan_keeps_it_no_longer(plan: Plan, days: int) -> None:
    """To the millisecond."""
    edge = NOW - timedelta(days=days)
    assert expires_before(plan, NOW) == edge
    assert not is_expired(edge, plan, NOW)
    assert is_expired(edge - MILLISECOND, plan, NOW)
    assert not is_expired(NOW, plan, NOW)


def test_ids_are_due_exactly_when_their_signals_are_expired() -> None:
    """The bound of each plan is the first id that is kept."""
    terms = Terms.at(NOW)
    bounds = {plan: received_at_of(bound) for plan, bound in zip(terms.plans, terms.due_before, strict=True)}
    assert bounds == {plan.value: expires_before(plan, NOW) for plan in Plan}


def test_partitions_go_only_after_no_row_can_come() -> None:
    """Later than the last plan's rows, by more than the day for which the database still makes partitions."""
    assert received_at_of(Terms.at(NOW).all_before) < NOW - timedelta(days=731)
