from capture.outcomes import RULES, TOLD_BY_THE_SITE, After, Outcome
from schemas.records import CaptureEventKind


def test_every_outcome_has_a_rule() -> None:
    """The list is closed: nothing can happen that nobody decided about."""
    assert set(RULES) == set(Outcome)


def test_only_passing_faults_are_tried_again() -> None:
    """What the user or the site has decided is final at once."""
    final = {outcome for outcome, rule in RULES.items() if rule.after is After.FINISH}
    assert {
        Outcome.SESSION_EXPIRED,
        Outcome.LAYOUT_NOT_FOUND,
        Outcome.SYMBOL_UNKNOWN,
        Outcome.ACCOUNT_FLAGGED,
        Outcome.CAPTCHA,
    } <= final
    assert all(RULES[outcome].event is CaptureEventKind.FAILED for outcome in set(Outcome) - final)


def test_only_a_picture_completes() -> None:
    """No outcome leads to `completed` without one, be it good or only degraded."""
    completing = [outcome for outcome, rule in RULES.items() if rule.event is CaptureEventKind.COMPLETED]
    assert completing == [Outcome.COMPLETED, Outcome.DEGRADED]


def test_a_site_cannot_end_a_capture_well() -> None:
    """What a page says of itself may fail a capture, but neither complete nor skip nor rerun it."""
    events = {RULES[outcome].event for outcome in TOLD_BY_THE_SITE}
    assert not events & {CaptureEventKind.COMPLETED, CaptureEventKind.SKIPPED}
    assert After.RERUN not in {RULES[outcome].after for outcome in TOLD_BY_THE_SITE}
