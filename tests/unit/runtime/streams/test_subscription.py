"""The seam between Faust and our code: what is made of a message, and when it may be acknowledged."""

from types import SimpleNamespace

import pytest

from runtime.streams.record import StreamRecord
from runtime.streams.subscription import _acknowledge, _record
from tests.support.faust_app import FakeApp
from tests.support.records import SOURCE


def test_a_message_becomes_a_record() -> None:
    """Bytes and origin as they came; a tombstone is empty; milliseconds survive Faust's float seconds."""
    message = SimpleNamespace(
        topic="signals",
        partition=3,
        offset=42,
        generation_id=7,
        timestamp=1_773_480_413.125,
        key=b"key",
        value=None,
        headers=[("ce_id", b"x")],
    )
    assert _record(message) == StreamRecord(
        source=SOURCE._replace(partition=3),
        offset=42,
        generation=7,
        timestamp_ms=1_773_480_413_125,
        key=b"key",
        value=b"",
        headers=(("ce_id", b"x"),),
    )
    assert _record(SimpleNamespace(**{**vars(message), "headers": None})).headers == ()


@pytest.mark.parametrize(
    ("app", "generation", "acked"),
    [
        (FakeApp(), 1, [5]),
        (FakeApp(rebalancing=True), 1, []),
        (FakeApp(consumer_generation_id=2), 1, []),
    ],
    ids=["ours", "rebalancing", "assigned anew"],
)
def test_only_offsets_that_are_ours_are_acknowledged(app: FakeApp, generation: int, acked: list[int]) -> None:
    """During and after a rebalance the new owner gets the record; we must not move its offset."""
    _acknowledge(app, app.event(5, generation))()
    assert app.acked == acked
