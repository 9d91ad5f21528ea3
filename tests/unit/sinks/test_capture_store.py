"""Which of several capture events stands."""

from itertools import permutations

import pytest

from schemas.records import CaptureEvent, CaptureEventKind, ScreenshotStatus
from sinks.capture_store import STATUS_OF, greatest
from tests.support.signals import new_event, new_signal, signal_of
from tests.support.tenants import new_customer

SIGNAL = new_signal(new_customer())


def event(kind: CaptureEventKind, request_no: int = 1, **changes: object) -> CaptureEvent:
    return new_event(SIGNAL, kind, request_no=request_no, **changes)


def standing(*events: CaptureEvent) -> CaptureEvent:
    return greatest(events)[SIGNAL.signal_id, SIGNAL.user_id]


def test_every_kind_of_event_has_its_status() -> None:
    """What ends a capture without a picture is a failure or a skip, nothing goes back to pending."""
    assert set(STATUS_OF) == set(CaptureEventKind)
    assert ScreenshotStatus.PENDING not in STATUS_OF.values()
    assert [kind for kind, status in STATUS_OF.items() if status is ScreenshotStatus.COMPLETED] == [
        CaptureEventKind.COMPLETED
    ]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_greatest_request_and_then_rank_stands(order: tuple[int, ...]) -> None:
    """In whatever order they come."""
    events = [
        event(CaptureEventKind.STARTED),
        event(CaptureEventKind.COMPLETED),
        event(CaptureEventKind.STARTED, 2),
        event(CaptureEventKind.FAILED, 2),
    ]
    assert standing(*(events[place] for place in order)) is events[3]


def test_of_equal_events_the_first_stands() -> None:
    """As if they had come in two batches: the store keeps what it has unless more comes."""
    first, second = (event(CaptureEventKind.SKIPPED, reason=reason) for reason in ("stale", "no_chart"))
    assert standing(first, second) is first
    assert standing(first, event(CaptureEventKind.FAILED, reason="late")) is first


def test_an_event_stands_for_each_signal_it_serves() -> None:
    """Signals that share a picture may be ahead of each other by events of their own."""
    other = signal_of(SIGNAL.user_id)
    shared = event(CaptureEventKind.COMPLETED, signal_ids=[SIGNAL.signal_id, other.signal_id])
    again = new_event(other, CaptureEventKind.STARTED, request_no=2)
    assert greatest([again, shared]) == {
        (SIGNAL.signal_id, SIGNAL.user_id): shared,
        (other.signal_id, SIGNAL.user_id): again,
    }


def test_an_event_of_another_user_does_not_stand_in_the_way() -> None:
    """It changes nothing in the store, so it must not hide what does."""
    started = event(CaptureEventKind.STARTED)
    strange = event(CaptureEventKind.COMPLETED, user_id=new_customer().tenant.user_id)
    assert standing(started, strange) is standing(strange, started) is started
