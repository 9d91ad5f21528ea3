"""What became of an alert: the rules, one by one."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from runtime.ids import uuid7
from schemas.plans import PLAN_TERMS, Plan
from schemas.records import Disposition
from schemas.topics import DAY_MS
from sinks.reconcile import (
    NOBODY,
    Loss,
    Outcome,
    Trace,
    UserState,
    Window,
    loss_of,
    outcome_of,
    received_ms_of,
    signal_id_of,
    user_id_of,
)

NOW_MS = int(datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp() * 1000)
USER = UUID("019ceb00-0000-7000-8000-000000000002")
LIVE, DELETED = UserState(Plan.FREE, deleted=False), UserState(Plan.FREE, deleted=True)
KEPT_MS = PLAN_TERMS[Plan.FREE].signals_kept_days * DAY_MS


def trace(received_ms: int = NOW_MS - 1, **facts: bool) -> Trace:
    known = {"waiting": False, "on_signals": False, "dead": False, **facts}
    return Trace(uuid7(received_ms, 0, 1), USER.bytes, **known)


@pytest.mark.parametrize(
    ("facts", "disposition", "user", "expected"),
    [
        ({}, Disposition.STORED, LIVE, Outcome.STORED),
        ({}, Disposition.PARKED, LIVE, Outcome.PARKED),
        ({"dead": True, "waiting": True}, Disposition.STORED, DELETED, Outcome.STORED),
        ({"dead": True, "on_signals": True}, None, LIVE, Outcome.DEAD),
        ({"waiting": True}, None, LIVE, Outcome.IN_FLIGHT),
        ({"waiting": True}, None, DELETED, Outcome.IN_FLIGHT),
        ({}, None, DELETED, Outcome.TENANT_DELETED),
        ({"on_signals": True}, None, DELETED, Outcome.MISSING),
        ({}, None, LIVE, Outcome.MISSING),
        ({}, None, None, Outcome.MISSING),
    ],
)
def test_each_alert_has_one_outcome(
    facts: dict[str, bool], disposition: Disposition | None, user: UserState | None, expected: Outcome
) -> None:
    """The store speaks first, then a dead letter, then what still waits; what is left was lost."""
    assert outcome_of(trace(**facts), disposition, user, NOW_MS) is expected


def test_what_is_older_than_the_plan_keeps_is_expired() -> None:
    """To the millisecond, by the plan of today; of an unknown user nothing expires."""
    kept, expired = trace(NOW_MS - KEPT_MS), trace(NOW_MS - KEPT_MS - 1)
    assert outcome_of(kept, None, LIVE, NOW_MS) is Outcome.MISSING
    assert outcome_of(expired, None, LIVE, NOW_MS) is Outcome.EXPIRED
    assert outcome_of(expired, None, UserState(Plan.PRO, deleted=False), NOW_MS) is Outcome.MISSING
    assert outcome_of(expired, None, None, NOW_MS) is Outcome.MISSING
    assert outcome_of(expired, Disposition.STORED, LIVE, NOW_MS) is Outcome.STORED


def test_a_loss_is_placed_by_where_the_alert_was_seen_last() -> None:
    """On `signals`: behind the processors."""
    assert loss_of(trace(on_signals=True)) is Loss.AFTER_PROCESSORS
    assert loss_of(trace()) is Loss.BEFORE_SIGNALS


@pytest.mark.parametrize(
    "ce_id",
    [
        None,
        b"",
        b"\xff",
        b"alert",
        b"019cebc1-2345-7000-8000",
        b"e7a0d6f0-0f5f-4c11-9f0b-3a4c5d6e7f80",
        b"ffffffff-ffff-7000-8000-000000000001",
    ],
)
def test_only_an_id_with_a_time_can_be_followed(ce_id: bytes | None) -> None:
    """Absent, not a UUID, of another version, or of a year that no calendar has."""
    assert signal_id_of({"ce_id": ce_id}) is None
    assert signal_id_of({}) is None


def test_id_and_user_are_read_without_the_body() -> None:
    """From a header and the key; a key that names nobody is nobody's."""
    signal_id = uuid7(NOW_MS, 3, 5)
    found = signal_id_of({"ce_id": str(signal_id).encode()})
    assert found == signal_id.bytes
    assert received_ms_of(signal_id.bytes) == NOW_MS
    assert user_id_of(str(USER).encode()) == USER.bytes
    assert [user_id_of(key) for key in (None, b"", b"key", b"\xff")] == [NOBODY] * 4


def test_a_window_holds_its_beginning_and_not_its_end() -> None:
    """And only the user it is about."""
    window = Window(10, 20, USER.bytes)
    assert [window.holds(moment, USER.bytes) for moment in (9, 10, 19, 20)] == [False, True, True, False]
    assert not window.holds(10, b"another user's id")
    assert Window().holds(10, NOBODY)
