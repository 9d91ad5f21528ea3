from capture.outcomes import RULES, After, Outcome
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
    """No outcome but one leads to `completed`."""
    completing = [outcome for outcome, rule in RULES.items() if rule.event is CaptureEventKind.COMPLETED]
    assert completing == [Outcome.COMPLETED]
