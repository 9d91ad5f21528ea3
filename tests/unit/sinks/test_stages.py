"""The order of the sink's effects: a crash at any point repeats and never skips."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from runtime.clock import utc_now
from runtime.errors import InvalidError
from runtime.metrics import Metrics, create_metrics
from runtime.publisher import Message
from runtime.streams.record import StreamRecord
from schemas.codec import decode
from schemas.plans import Plan
from schemas.records import (
    CaptureEvent,
    CaptureEventKind,
    CaptureRequest,
    Lane,
    Record,
    Signal,
    StoredSignal,
)
from schemas.topics import CAPTURES, SIGNALS_STORED
from sinks.capture_store import CaptureStore
from sinks.stages import CaptureEventStage, SignalStage
from sinks.store import AcceptedSignal, SignalStore, StoredBatch
from tests.support.clock import START_MS, FakeClock
from tests.support.signals import new_event, new_signal, plain_record, signal_record
from tests.support.tenants import new_customer

STEPS = ("insert", "publish captures.premium", "mark")


class CrashError(Exception):
    """The process is gone."""


@dataclass
class World:
    """What survives a crash, and when the next one comes: before or after an effect."""

    rows: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    marked: set[UUID] = field(default_factory=set)
    events: list[CaptureEvent] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    crash_before: str | None = None
    crash_after: str | None = None

    def begin(self, step: str) -> None:
        if step == self.crash_before:
            self.crash_before = None
            raise CrashError

    def end(self, step: str) -> None:
        self.steps.append(step)
        if step == self.crash_after:
            self.crash_after = None
            raise CrashError


class MemoryStore(SignalStore):
    """Keeps the promises of the store in memory. Every row wants a picture."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def insert(self, accepted: Sequence[AcceptedSignal], now: datetime) -> StoredBatch:
        assert now == utc_now(FakeClock())
        self._world.begin("insert")
        given = {item.signal.signal_id: item.signal for item in accepted}
        known = [signal_id for signal_id in given if signal_id in self._world.rows]
        new = {signal_id: row_of(signal) for signal_id, signal in given.items() if signal_id not in known}
        self._world.rows |= new
        self._world.end("insert")
        return StoredBatch([*new.values(), *(self._world.rows[known_id] for known_id in known)], len(new))

    async def reparse(self, accepted: Sequence[AcceptedSignal]) -> int:
        self._world.begin("reparse")
        self._world.end("reparse")
        return len(accepted)

    async def mark_captures_requested(self, signal_ids: Sequence[UUID]) -> None:
        self._world.begin("mark")
        self._world.marked.update(signal_ids)
        self._world.end("mark")


class MemoryCaptures(CaptureStore):
    """Keeps events."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def apply(self, events: Sequence[CaptureEvent]) -> None:
        self._world.events += events


@dataclass
class MemoryPublisher:
    """Keeps messages; a message about a row that is not stored yet is a fault."""

    world: World

    async def publish(self, messages: Sequence[Message]) -> None:
        step = f"publish {messages[0].topic}" if messages else "publish nothing"
        self.world.begin(step)
        for message in messages:
            assert UUID(dict(message.headers)["ce_id"].decode()) in self.world.rows
        self.world.messages += messages
        self.world.end(step)


def row_of(signal: Signal) -> dict[str, Any]:
    return {
        "id": signal.signal_id,
        "user_id": signal.user_id,
        "disposition": "stored",
        "sequence": signal.signal_id.int & 0xFFFF,
        "plan": signal.plan.value,
        "timestamp": signal.received_at,
        "screenshot_status": "pending",
        "capture_request_no": 1,
        "capture_by": signal.received_at,
        "chart_id": signal.chart_id,
        "ticker": signal.ticker,
        "interval": signal.interval,
        "lane": signal.lane.value,
    }


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def metrics() -> Metrics:
    return create_metrics()


@pytest.fixture
def stage(world: World, metrics: Metrics) -> SignalStage:
    return SignalStage(MemoryStore(world), MemoryPublisher(world), metrics, FakeClock())


def batch(count: int = 3, plan: Plan = Plan.PREMIUM) -> list[StreamRecord]:
    customer = new_customer(plan)
    return [signal_record(new_signal(customer)) for _ in range(count)]


def of_topic(world: World, topic: str) -> list[Message]:
    return [message for message in world.messages if message.topic == topic]


async def test_effects_come_in_the_order_that_makes_a_crash_harmless(
    world: World, stage: SignalStage
) -> None:
    """Rows first, then requests and announcements, then the mark that says they were asked for."""
    await stage.work(batch())
    assert tuple(world.steps) == STEPS


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_ends_in_the_same_state(
    world: World, stage: SignalStage, step: str, moment: str
) -> None:
    """The records come again, and then every row is stored once, asked for, announced and marked."""
    records = batch()
    setattr(world, f"crash_{moment}", step)
    with pytest.raises(CrashError):
        await stage.work(records)
    await stage.work(records)
    ids = set(world.rows)
    assert len(ids) == 3
    assert ids_in(of_topic(world, "captures.premium"), CaptureRequest) == ids
    assert ids_in(of_topic(world, "signals.stored"), StoredSignal) == ids
    assert world.marked == ids


async def test_a_request_carries_what_the_worker_needs(world: World, stage: SignalStage) -> None:
    """On the topic of the plan, keyed by user, with the row's values and no cookie."""
    customer = new_customer(Plan.PRO)
    signal = new_signal(customer)
    await stage.work([signal_record(signal)])
    (message,) = of_topic(world, CAPTURES[Plan.PRO].name)
    assert message.key == customer.key
    assert decoded(message, CaptureRequest) == CaptureRequest(
        signal_id=signal.signal_id,
        user_id=signal.user_id,
        plan=Plan.PRO,
        request_no=1,
        received_at=signal.received_at,
        capture_by=signal.received_at,
        chart_id="Ab3dE9xZ",
        ticker="BINANCE:BTCUSDT",
        interval="15",
    )
    headers = dict(message.headers)
    assert (headers["ce_type"], headers["ce_source"]) == (b"alerts.capture.request", b"/alerts/sink")
    assert headers["traceparent"].startswith(f"00-{signal.signal_id.hex}-".encode())


async def test_an_announcement_tells_where_the_row_stands(world: World, stage: SignalStage) -> None:
    """Live readers get id, tenant, disposition and the row's place in the sequence."""
    signal = new_signal(new_customer())
    await stage.work([signal_record(signal)])
    (message,) = of_topic(world, SIGNALS_STORED.name)
    stored = decoded(message, StoredSignal)
    assert (stored.signal_id, stored.user_id) == (signal.signal_id, signal.user_id)
    assert (stored.disposition, stored.sequence) == ("stored", signal.signal_id.int & 0xFFFF)


@pytest.mark.parametrize(
    ("column", "value"),
    [("screenshot_status", "skipped"), ("screenshot_status", "completed"), ("disposition", "parked")],
)
async def test_only_pending_rows_that_are_not_parked_are_captured(
    world: World, stage: SignalStage, column: str, value: str
) -> None:
    """A row met again after its capture, or above the quota, is announced and not asked for."""
    records = batch(1)
    await stage.work(records)
    world.messages.clear()
    world.marked.clear()
    next(iter(world.rows.values()))[column] = value
    await stage.work(records)
    assert [message.topic for message in world.messages] == [SIGNALS_STORED.name]
    assert world.marked == set()


async def test_a_replay_announces_only_what_it_has_stored_itself(world: World, stage: SignalStage) -> None:
    """Live readers have seen the rest; delivered again it announces the same again."""
    customer = new_customer()
    known, late = new_signal(customer), new_signal(customer, lane=Lane.REPLAY)
    await stage.work([signal_record(known)])
    for _delivery in range(2):
        world.messages.clear()
        await stage.replay([signal_record(signal) for signal in (known, late)])
        assert ids_in(of_topic(world, SIGNALS_STORED.name), StoredSignal) == {late.signal_id}


async def test_a_row_that_still_waits_is_asked_for_again(world: World, stage: SignalStage) -> None:
    """Whether or not this batch inserted it: the first request may never have been published."""
    records = batch(1)
    await stage.work(records)
    await stage.work(records)
    assert len(of_topic(world, "captures.premium")) == 2


async def test_new_and_repeated_rows_are_counted_apart(stage: SignalStage, metrics: Metrics) -> None:
    """The metrics show how much was delivered twice."""
    records = batch(2)
    await stage.work(records)
    await stage.work([*records, *batch(1)])
    registry = metrics.registry
    counts = [
        registry.get_sample_value("alerts_signals_stored_total", {"outcome": outcome})
        for outcome in ("inserted", "repeated")
    ]
    assert counts == [3, 2]


def broken(value: bytes) -> StreamRecord:
    good = batch(1)[0]
    return StreamRecord(good.source, 0, 1, START_MS, good.key, value, good.headers)


@pytest.mark.parametrize("value", [b"", b"{}", b"not json", b"\xff", b'{"signal_id": "x"}'])
async def test_an_unreadable_signal_is_invalid_and_has_no_effect(
    world: World, stage: SignalStage, value: bytes
) -> None:
    """The harness finds the culprit; nothing of its batch may be half done."""
    with pytest.raises(InvalidError) as caught:
        await stage.work([*batch(1), broken(value)])
    assert caught.value.reason == "bad_record"
    assert (world.rows, world.messages) == ({}, [])


async def test_a_signal_without_its_webhooks_headers_is_invalid(world: World, stage: SignalStage) -> None:
    """Audit needs them, so a signal that lost them is a dead letter and not a row."""
    with pytest.raises(InvalidError) as caught:
        await stage.work([plain_record(new_signal(new_customer()))])
    assert caught.value.reason == "bad_headers"
    assert world.rows == {}


async def test_capture_events_are_applied_in_order(world: World) -> None:
    """A batch goes to the store as it came."""
    signal = new_signal(new_customer())
    events = [new_event(signal, kind) for kind in (CaptureEventKind.STARTED, CaptureEventKind.COMPLETED)]
    await CaptureEventStage(MemoryCaptures(world)).work([plain_record(event) for event in events])
    assert world.events == events


async def test_an_unreadable_capture_event_is_invalid_and_has_no_effect(world: World) -> None:
    """Also a record of another kind."""
    signal = new_signal(new_customer())
    good = plain_record(new_event(signal, CaptureEventKind.STARTED))
    for bad in (plain_record(signal), broken(b"{")):
        with pytest.raises(InvalidError):
            await CaptureEventStage(MemoryCaptures(world)).work([good, bad])
    assert world.events == []


def decoded(message: Message, kind: type[Any]) -> Any:
    record: Record = decode(message.value, kind)
    return record


def ids_in(messages: Sequence[Message], kind: type[Any]) -> set[UUID]:
    return {decoded(message, kind).signal_id for message in messages}
