from decimal import Decimal
from uuid import UUID

import pytest

from schemas.plans import PLAN_TERMS, Plan, QuotaMode
from schemas.records import CaptureEventKind, ExactDecimal, Tenant, Warning_

RANKS = {
    CaptureEventKind.STARTED: 1,
    CaptureEventKind.FAILED: 2,
    CaptureEventKind.SKIPPED: 2,
    CaptureEventKind.SESSION_EXPIRED: 2,
    CaptureEventKind.ACCOUNT_FLAGGED: 2,
    CaptureEventKind.COMPLETED: 3,
}


@pytest.mark.parametrize("kind", CaptureEventKind)
def test_the_rank_of_every_event(kind: CaptureEventKind) -> None:
    """Started < failed or skipped < completed; a kind without a rank could never be applied."""
    assert kind.rank == RANKS[kind]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1E-8", "0.00000001"),
        ("1E+3", "1000"),
        ("67890.50", "67890.50"),
        ("-0.0", "-0.0"),
        ("1E-30", "0.000000000000000000000000000001"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
    ],
)
def test_a_decimal_reads_as_digits(written: str, expected: str) -> None:
    """No exponent however it is printed, and no digit is lost."""
    value = ExactDecimal(written)
    assert str(value) == f"{value}" == "%s" % value == expected  # noqa: UP031 - one of the ways to print
    assert value == Decimal(written)
    assert f"{value:.2e}" == f"{Decimal(written):.2e}"


def test_plans_are_ordered_by_urgency() -> None:
    """Captures are granted in this order, and every plan has terms."""
    assert list(Plan) == [Plan.PREMIUM, Plan.PRO, Plan.BASIC, Plan.FREE]
    assert list(PLAN_TERMS) == list(Plan)


def test_a_better_plan_is_never_worse() -> None:
    """Rates, retention and pictures grow with the plan; only premium has no quota."""
    for better, worse in zip(list(Plan), list(Plan)[1:], strict=False):
        upper, lower = PLAN_TERMS[better], PLAN_TERMS[worse]
        assert (upper.rate_per_s, upper.burst) > (lower.rate_per_s, lower.burst)
        assert upper.signals_kept_days > lower.signals_kept_days
        assert upper.pictures_kept_days > lower.pictures_kept_days
        assert upper.picture_width_px >= lower.picture_width_px
    assert [plan for plan in Plan if PLAN_TERMS[plan].signals_per_month is None] == [Plan.PREMIUM]
    assert PLAN_TERMS[Plan.PREMIUM].quota_mode is QuotaMode.OFF


def test_warnings_are_the_closed_list_of_the_design() -> None:
    """Clients switch on these words."""
    assert " ".join(sorted(Warning_)) == (
        "ambiguous_number conflicting_direction invalid_chart invalid_number invalid_ticker invalid_time "
        "invalid_utf8 malformed_json multiple_alerts naive_time number_out_of_range replaced_characters "
        "truncated_fields truncated_message unresolved_placeholder"
    )


def test_records_cannot_be_changed() -> None:
    """A record that is on its way stays what it is."""
    tenant = Tenant(
        user_id=UUID(int=1),
        revision=1,
        plan=Plan.FREE,
        token_hashes=[],
        webhook_enabled=True,
        captures_enabled=False,
    )
    with pytest.raises(AttributeError):
        tenant.revision = 2  # type: ignore[misc]  # what the test is about
