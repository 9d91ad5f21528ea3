"""The ledger's file: batches, counts and what is missing."""

from collections.abc import Iterator
from uuid import UUID

import apsw
import pytest

from runtime.errors import TransientError
from runtime.ids import uuid7
from sinks import reconcile_ledger
from sinks.reconcile import HOUR_MS, Loss, Outcome, Trace
from sinks.reconcile_ledger import ON_SIGNALS, WAITING, HourTally, Ledger, MissingAlert

HOUR = 492_624
USERS = [UUID(int=number).bytes for number in (1, 2)]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


def alert(number: int, hour: int = HOUR) -> bytes:
    return uuid7(hour * HOUR_MS, 0, number).bytes


def traces(ledger: Ledger) -> list[Trace]:
    return [trace for batch in ledger.traces() for trace in batch]


def test_marks_add_up(ledger: Ledger) -> None:
    """Copies in any order; a mark on what was not accepted is left out."""
    ledger.accept([(alert(1), USERS[0], 0), (alert(1), USERS[0], WAITING), (alert(2), USERS[0], 0)])
    ledger.mark([(alert(1), USERS[0], ON_SIGNALS), (alert(3), USERS[0], ON_SIGNALS)])
    assert ledger.accepted() == 2
    assert [(trace.waiting, trace.on_signals) for trace in traces(ledger)] == [(True, True), (False, False)]


def test_batches_hold_every_alert_once_in_id_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their size."""
    monkeypatch.setattr(reconcile_ledger, "BATCH_ALERTS", 3)
    ledger.accept([(alert(number), USERS[0], 0) for number in reversed(range(8))])
    batches = list(ledger.traces())
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert [trace.signal_id.bytes for batch in batches for trace in batch] == [
        alert(number) for number in range(8)
    ]


def test_a_letter_is_of_its_topic(ledger: Ledger) -> None:
    """What was put back on another topic does not undo it."""
    ledger.accept([(alert(number), USERS[0], 0) for number in range(3)])
    ledger.note_letters([(alert(0), "signals", 0), (alert(1), "signals", 0)])
    ledger.note_redriven([(alert(0), "webhooks.raw", 1), (alert(1), "signals", 1)])
    assert [trace.dead for trace in traces(ledger)] == [True, False, False]


def test_outcomes_are_counted_per_tenant_and_hour(ledger: Ledger) -> None:
    """And corrected when a second look finds what seemed to be missing."""
    ledger.accept(
        [(alert(1), USERS[1], 0), (alert(2), USERS[0], ON_SIGNALS), (alert(3, HOUR + 1), USERS[0], 0)]
    )
    ledger.settle([(trace, Outcome.MISSING) for trace in traces(ledger)])
    assert ledger.totals() == {Outcome.MISSING: 3}
    [again] = ledger.missing_traces()
    outcomes = [Outcome.STORED, Outcome.MISSING, Outcome.DEAD]
    ledger.settle_again(list(zip(again, outcomes, strict=True)))
    assert list(ledger.tally()) == [
        HourTally(USERS[0], HOUR, {Outcome.MISSING: 1}),
        HourTally(USERS[0], HOUR + 1, {Outcome.DEAD: 1}),
        HourTally(USERS[1], HOUR, {Outcome.STORED: 1}),
    ]
    assert list(ledger.missing()) == [MissingAlert(UUID(bytes=alert(2)), USERS[0], Loss.AFTER_PROCESSORS)]


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no bug, and says where to find more room."""

    class FullConnection:
        def __init__(self, _name: str) -> None:
            pass

        def execute(self, _sql: str) -> None:
            raise apsw.FullError

    monkeypatch.setattr("sinks.reconcile_ledger.apsw.Connection", FullConnection)
    with pytest.raises(TransientError, match="no room"):
        Ledger()
