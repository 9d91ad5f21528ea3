"""The seam between Faust and our code: what is made of a message, and when it may be acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types.tuples import Message
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from runtime.streams.intake import Intake
from runtime.streams.record import StreamRecord
from runtime.streams.subscription import RawSchema, _acknowledge, _agent_body, _record
from runtime.streams.versions import SPEED
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
    """As much of a Faust stream as an agent uses. It hands out `events`; `waiting` are in its queue."""

    def __init__(self, events: Sequence[Any], waiting: Sequence[Any] = ()) -> None:
        self._events = events
        self.channel = SimpleNamespace(queue=ThrowableQueue(flow_control=FlowControlEvent()))
        for event in waiting:
            self.channel.queue.force_put_nowait(event)

    def noack(self) -> "Stream":
        return self

    async def events(self) -> AsyncIterator[Any]:
        for event in self._events:
            yield event


def message(offset: int, generation: int) -> Message:
    origin: dict[str, Any] = {
        "topic": "signals",
        "partition": 0,
        "offset": offset,
        "generation_id": generation,
    }
    content: dict[str, Any] = {"key": b"key", "value": b"value", "headers": (), "checksum": None}
    return Message(timestamp=0.0, timestamp_type=0, **origin, **content)


async def test_a_record_that_outlived_its_assignment_while_it_waited_for_room_is_left_out() -> None:
    """What waited before it is forgotten: admitted, it would overtake that when it is delivered anew."""
    app, intake = FakeApp(), Intake(2, FakeClock())
    admitting = asyncio.ensure_future(_agent_body(app, intake)(Stream(events(5, 6, 7))))
    while intake.admitted < 2:  # noqa: ASYNC110 - the agent has no event of its own
        await asyncio.sleep(0)
    app.consumer_generation_id = 2
    intake.ledger.drop_older_than(2)
    taking = asyncio.create_task(intake.take(2))
    await admitting
    assert intake.admitted == 2
    await _agent_body(app, intake)(Stream([SimpleNamespace(message=message(5, 2))]))
    assert [(record.offset, record.generation) for record in await taking] == [(5, 2)]


def events(*offsets: int, generation: int = 1) -> list[Any]:
    return [SimpleNamespace(message=message(offset, generation)) for offset in offsets]


async def test_what_waits_behind_an_event_is_admitted_with_it() -> None:
    """In its order, and Faust knows that each is not acknowledged yet, so that none is committed past."""
    app, intake = FakeApp(), Intake(10, FakeClock())
    waiting = events(6, 7)
    await _agent_body(app, intake)(Stream(events(5), waiting))
    assert [record.offset for record in await intake.take(10)] == [5, 6, 7]
    assert app.consumer.unacked == {one.message for one in waiting}
    assert all(one.message.tracked for one in waiting)


@pytest.mark.parametrize("changes", [{"consumer_generation_id": 2}, {"is_flowing": False}])
async def test_what_waits_is_dropped_as_the_stream_itself_would(changes: dict[str, Any]) -> None:
    """Of an earlier assignment, or while a rebalance has stopped the flow; it is delivered again."""
    app, intake = FakeApp(**changes), Intake(10, FakeClock())
    await intake.admit(_record(message(4, 1)), lambda: None)
    await _agent_body(app, intake)(Stream(events(5, generation=2), events(6, 7)))
    assert not app.consumer.unacked
    assert {6, 7}.isdisjoint(record.offset for record in await intake.take(10))


async def test_beside_an_unknown_stream_the_queue_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits there may have to be tracked in another way; the stream hands it out itself."""
    monkeypatch.setattr("runtime.streams.subscription.SPEED", {next(iter(SPEED)): "another"})
    app, intake, stream = FakeApp(), Intake(10, FakeClock()), Stream(events(5), events(6, 7))
    await _agent_body(app, intake)(stream)
    assert [record.offset for record in await intake.take(10)] == [5]
    assert stream.channel.queue.qsize() == 2


async def test_an_error_that_waits_in_the_queue_is_raised() -> None:
    """As the stream would raise it: Faust then ends the agent, and the process."""
    app, stream = FakeApp(), Stream(events(5), events(6))
    stream.channel.queue._errors.append(ConnectionError("away"))
    with pytest.raises(ConnectionError):
        await _agent_body(app, Intake(10, FakeClock()))(stream)


async def test_bytes_are_decoded_to_themselves() -> None:
    """Key, value and headers of a message become the event's, a tombstone's value None."""
    app = SimpleNamespace(conf=SimpleNamespace(Event=lambda *arguments: arguments))
    decode = RawSchema(key_type=bytes, value_type=bytes).compile(app)
    for value in (b"\xff{", None):
        one = SimpleNamespace(key=b"\x00", value=value, headers=[("a", b"b")])
        assert await decode(one, propagate=True) == (app, b"\x00", value, [("a", b"b")], one)
