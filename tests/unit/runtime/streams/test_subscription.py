"""The seam between Faust and our code: what is made of a message, and when it may be acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.streams.intake import Intake
from runtime.streams.record import StreamRecord
from runtime.streams.subscription import _acknowledge, _agent_body, _record
from tests.support.clock import FakeClock
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


class Stream:
    """As much of a Faust stream as an agent uses."""

    def __init__(self, events: Sequence[Any]) -> None:
        self._events = events

    def noack(self) -> "Stream":
        return self

    async def events(self) -> AsyncIterator[Any]:
        for event in self._events:
            yield event


def message(offset: int, generation: int) -> Any:
    return SimpleNamespace(
        topic="signals",
        partition=0,
        offset=offset,
        generation_id=generation,
        timestamp=0.0,
        key=b"key",
        value=b"value",
        headers=(),
    )


async def test_a_record_that_outlived_its_assignment_while_it_waited_for_room_is_left_out() -> None:
    """What waited before it is forgotten: admitted, it would overtake that when it is delivered anew."""
    app, intake = FakeApp(), Intake(2, FakeClock())
    events = [SimpleNamespace(message=message(offset, 1)) for offset in (5, 6, 7)]
    admitting = asyncio.ensure_future(_agent_body(app, intake)(Stream(events)))
    while intake.admitted < 2:  # noqa: ASYNC110 - the agent has no event of its own
        await asyncio.sleep(0)
    app.consumer_generation_id = 2
    intake.ledger.drop_older_than(2)
    taking = asyncio.create_task(intake.take(2))
    await admitting
    assert intake.admitted == 2
    await _agent_body(app, intake)(Stream([SimpleNamespace(message=message(5, 2))]))
    assert [(record.offset, record.generation) for record in await taking] == [(5, 2)]
