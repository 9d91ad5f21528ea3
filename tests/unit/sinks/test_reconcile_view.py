"""A result for people and for programs."""

import json
from uuid import UUID

from runtime.ids import uuid7
from sinks.reconcile import HOUR_MS, NOBODY, Loss, Outcome, Window
from sinks.reconcile_ledger import HourTally, MissingAlert
from sinks.reconcile_spool import SpoolDepth
from sinks.reconcile_view import MISSING_SHOWN, Report, report_json, report_lines

USER = UUID("019ceb00-0000-7000-8000-000000000002")
HOUR = 492_624  # 2026-03-14T00:00Z
SPOOL = SpoolDepth("http://ingress:9100", 12, 3456, 7.4)


def alert(number: int) -> MissingAlert:
    return MissingAlert(uuid7(HOUR * HOUR_MS + number, 0, number), USER.bytes, Loss.BEFORE_SIGNALS)


def report(missing: int = 0, **parts: object) -> Report:
    hours = [
        HourTally(NOBODY, HOUR, {Outcome.DEAD: 2}),
        HourTally(USER.bytes, HOUR, {Outcome.STORED: 40, Outcome.MISSING: missing}),
    ]
    totals = {Outcome.STORED: 40, Outcome.DEAD: 2, Outcome.MISSING: missing}
    values = {"hours": hours, "totals": totals, "missing": [alert(number) for number in range(missing)]}
    return Report(Window(), **{**values, **parts})  # type: ignore[arg-type]  # from a table of overrides


def test_the_table_has_a_line_per_tenant_and_hour_and_a_total() -> None:
    """Accepted is the sum of the outcomes."""
    header, nobody, tenant, total, *rest = (line.split() for line in report_lines(report()))
    assert header[:4] == ["tenant", "hour", "accepted", "stored"]
    assert nobody == ["-", "2026-03-14T00:00Z", "2", "0", "0", "2", "0", "0", "0", "0"]
    assert tenant == [str(USER), "2026-03-14T00:00Z", "40", "40", "0", "0", "0", "0", "0", "0"]
    assert total == ["total", "42", "40", "0", "2", "0", "0", "0", "0"]
    assert [" ".join(line) for line in rest] == [
        "spools were not looked at; --ingress URL shows what waits on an ingress's disk"
    ]


def test_the_columns_stand_under_each_other() -> None:
    """Numbers end where their heading ends."""
    lines = list(report_lines(report()))[:4]
    assert {len(line) for line in lines} == {len(lines[0])}


def test_missing_alerts_are_named_up_to_a_number() -> None:
    """With tenant, time and place of the loss; the rest is counted."""
    lines = list(report_lines(report(MISSING_SHOWN + 3)))
    named = [line for line in lines if "lost before signals" in line]
    assert len(named) == MISSING_SHOWN
    assert named[1] == (
        f"{alert(1).signal_id}  tenant {USER}  received 2026-03-14T00:00:00.001Z  lost before signals"
    )
    assert f"{MISSING_SHOWN + 3} missing:" in lines
    assert "and 3 more; --json names all" in lines


def test_spools_and_foreign_records_are_told() -> None:
    """Accepted alerts that no topic holds yet, and records that are no alerts."""
    lines = list(report_lines(report(spools=[SPOOL], unreadable=4)))
    assert lines[-2:] == [
        "4 webhooks without a readable id: not counted",
        "spool of http://ingress:9100: 12 accepted and not on a topic yet (3456 bytes, the oldest for 7 s)",
    ]


def test_json_is_one_object_with_everything() -> None:
    """Every missing id, however many."""
    count = MISSING_SHOWN + 3
    text = "".join(report_json(report(count, spools=[SPOOL], unreadable=4)))
    found = json.loads(text)
    assert (found["gap"], found["total"]["missing"], found["unreadable"]) == (True, count, 4)
    assert found["hours"][0] == {
        "user_id": None,
        "hour": "2026-03-14T00:00:00.000Z",
        "accepted": 2,
        "stored": 0,
        "parked": 0,
        "dead": 2,
        "expired": 0,
        "tenant_deleted": 0,
        "in_flight": 0,
        "missing": 0,
    }
    assert [item["signal_id"] for item in found["missing"]] == [
        str(alert(number).signal_id) for number in range(count)
    ]
    assert found["missing"][0]["lost"] == "before signals"
    assert found["spools"] == [
        {"url": "http://ingress:9100", "records": 12, "size_bytes": 3456, "oldest_s": 7.4}
    ]


def test_json_without_a_gap_is_an_object_too() -> None:
    """Nothing accepted, nothing asked for."""
    empty = Report(Window(0, HOUR * HOUR_MS, USER.bytes), [], {}, [])
    found = json.loads("".join(report_json(empty)))
    assert (found["gap"], found["hours"], found["missing"], found["spools"]) == (False, [], [], None)
    assert (found["from"], found["to"]) == ("1970-01-01T00:00:00.000Z", "2026-03-14T00:00:00.000Z")
    assert found["user_id"] == str(USER)
