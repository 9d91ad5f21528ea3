"""The seams between Faust and our code, with a stand-in for the app."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.clock import Clock
from runtime.errors import FatalError, TransientError
from runtime.process import ProcessContext
from runtime.streams.intake import Intake
from runtime.streams.record import StreamRecord
from runtime.streams.service import (
    REBALANCE_DEADLINE_S,
    Subscription,
    _acknowledge,
    _check_membership,
    _record,
    _start_app,
    _stop_app,
    _watch,
)
from tests.support.clock import EagerClock, FakeClock
from tests.support.records import SOURCE, record


@dataclass
class App:
    """What the harness looks at of a Faust app."""

    rebalancing: bool = False
    crashed: bool = False
    consumer_generation_id: int | None = 1
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    acked: list[int] = field(default_factory=list)

    def event(self, offset: int, generation: int) -> Any:
        message = SimpleNamespace(generation_id=generation)
        return SimpleNamespace(message=message, ack=lambda: self.acked.append(offset))

    async def stop(self) -> None:
        await self.stopped.wait()


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
        (App(), 1, [5]),
        (App(rebalancing=True), 1, []),
        (App(consumer_generation_id=2), 1, []),
    ],
    ids=["ours", "rebalancing", "assigned anew"],
)
def test_only_offsets_that_are_ours_are_acknowledged(app: App, generation: int, acked: list[int]) -> None:
    """During and after a rebalance the new owner gets the record; we must not move its offset."""
    _acknowledge(app, app.event(5, generation))()
    assert app.acked == acked


@pytest.mark.parametrize(
    "app", [App(rebalancing=True), App(consumer_generation_id=0), App(consumer_generation_id=None)]
)
async def test_a_process_outside_of_its_group_is_not_ready(app: App) -> None:
    """Before it joined, and while the group finds itself anew."""
    with pytest.raises(TransientError):
        await _check_membership(app)
    await _check_membership(App())


async def watching(app: App, clock: Clock, intake: Intake | None = None) -> ProcessContext:
    context = ProcessContext(clock=clock)
    subscription = Subscription("test", ("signals",), intake or Intake(1, clock))
    await _watch(app, [subscription], context)
    return context


async def test_a_crashed_app_ends_the_process() -> None:
    """The supervisor starts a clean one."""
    with pytest.raises(FatalError, match="crashed"):
        await watching(App(crashed=True), EagerClock())


async def test_a_rebalance_without_end_ends_the_process() -> None:
    """After the deadline, counted from its beginning."""
    clock = EagerClock()
    began_at_s = clock.monotonic_s()
    with pytest.raises(FatalError, match="rebalancing"):
        await watching(App(rebalancing=True), clock)
    assert REBALANCE_DEADLINE_S < clock.monotonic_s() - began_at_s < REBALANCE_DEADLINE_S + 2


async def test_rebalances_that_end_do_not_add_up() -> None:
    """Many short ones are normal life."""
    clock = FakeClock()
    app = App(rebalancing=True)
    watch = asyncio.create_task(watching(app, clock))
    for _ in range(4):
        await clock.until_sleeping()
        await clock.advance(REBALANCE_DEADLINE_S / 2)
        await asyncio.sleep(0)
        app.rebalancing = not app.rebalancing
    await clock.until_sleeping()
    assert not watch.done()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_records_of_lost_partitions_stop_aging() -> None:
    """The age of the oldest record in work is that of work which is still ours."""
    clock = FakeClock()
    intake = Intake(10, clock)
    await intake.admit(record(1, generation=1), lambda: None)
    app = App()
    context = ProcessContext(clock=clock)
    watch = asyncio.create_task(_watch(app, [Subscription("test", ("signals",), intake)], context))
    ages = []
    for generation in (1, 2):
        app.consumer_generation_id = generation
        await clock.until_sleeping()
        await clock.advance(10)
        await asyncio.sleep(0)
        await clock.until_sleeping()
        registry = context.metrics.registry
        ages.append(registry.get_sample_value("alerts_stream_unacked_oldest_seconds", {"stage": "test"}))
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert ages == [10.0, 0.0]


async def test_a_start_that_ignores_its_end_can_be_left() -> None:
    """Faust waits for its group without end; a stop during the start must not wait with it."""
    reached, released = asyncio.Event(), asyncio.Event()

    async def start() -> None:
        reached.set()
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    starting = asyncio.create_task(_start_app(SimpleNamespace(start=start)))
    await reached.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert starting.cancelled()
    released.set()


async def test_a_start_that_fails_fails_the_role() -> None:
    """The reason reaches whoever started it."""

    async def start() -> None:
        raise TransientError("no group")

    with pytest.raises(TransientError, match="no group"):
        await _start_app(SimpleNamespace(start=start))


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_stop_that_fails_does_not_hide_why_the_role_ends(error: BaseException) -> None:
    """What follows it, such as flushing a producer, still happens."""

    async def stop() -> None:
        raise error

    await _stop_app(SimpleNamespace(stop=stop))


async def test_a_stop_that_hangs_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not committed is delivered again; the process must not wait for Faust."""
    monkeypatch.setattr("runtime.streams.service.APP_STOP_DEADLINE_S", 0.01)
    await _stop_app(App())
