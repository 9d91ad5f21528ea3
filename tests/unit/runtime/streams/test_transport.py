"""The second lock: a commit never passes a record that is not acknowledged, whatever was acknowledged."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.consumer import IntervalTree
from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import ProducerBuffer
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import FatalError
from runtime.settings import KafkaSettings
from runtime.streams.app import create_app
from runtime.streams.moderation import BURST, INTERVAL_S, FetchModeration
from runtime.streams.transport import IdempotentProducer, SafeConsumer, SafeTransport
from tests.support.clock import FakeClock

PLACE = ("signals", 0)


@dataclass(eq=False)
class Message:
    """What the consumer looks at of a message."""

    offset: int
    acked: bool = False
    generation_id: int = 1
    tp: tuple[str, int] = PLACE


def consumer(kind: Any, committed: int | None, acked: Iterable[int], unacked: Iterable[Message] = ()) -> Any:
    """A consumer with the state that `_new_offset` reads, and nothing around it."""
    made = kind.__new__(kind)
    made.app = SimpleNamespace(consumer_generation_id=1)
    made._acked = defaultdict(list, {PLACE: list(acked)})
    made._acked_index = defaultdict(set, {PLACE: set(acked)})
    made._gap = defaultdict(IntervalTree)
    made._committed_offset = defaultdict(lambda: None, {PLACE: committed})
    made._unacked_messages = set(unacked)
    return made


@pytest.mark.parametrize(
    ("committed", "acked", "unacked"),
    [(5, [6, 7], 5), (None, [1, 2, 3], 0)],
    ids=["one open record at the head", "a group that never committed"],
)
def test_both_defects_of_the_library_are_capped(
    committed: int | None, acked: list[int], unacked: int
) -> None:
    """Faust steps over the open record in both cases; ours commits nothing and keeps the acks for later."""
    assert consumer(driver.Consumer, committed, acked)._new_offset(PLACE) == acked[-1] + 1
    message = Message(unacked)
    ours = consumer(SafeConsumer, committed, acked, [message])
    assert ours._new_offset(PLACE) is None
    assert ours._acked[PLACE] == acked
    message.acked = True
    ours._acked[PLACE].append(unacked)
    ours._acked_index[PLACE].add(unacked)
    assert ours._new_offset(PLACE) == acked[-1] + 1
    assert ours._acked[PLACE] == []


def test_the_finished_prefix_is_committed() -> None:
    """The cap holds back what lies behind the open record, no more."""
    ours = consumer(SafeConsumer, 3, [3, 4, 6, 7], [Message(5)])
    assert ours._new_offset(PLACE) == 5
    assert ours._acked[PLACE] == [6, 7]
    assert ours._new_offset(PLACE) is None


def test_offsets_missing_in_the_log_count_as_done_up_to_the_cap() -> None:
    """Gaps of compaction are bridged, but not the one behind an open record."""
    ours = consumer(SafeConsumer, 0, [0, 4], [Message(5)])
    ours._gap[PLACE].addi(1, 4)
    ours._gap[PLACE].addi(6, 9)
    assert ours._new_offset(PLACE) == 5
    assert [tuple(gap)[:2] for gap in ours._gap[PLACE]] == [(6, 9)]


@pytest.mark.parametrize(
    "other", [Message(5, generation_id=0), Message(5, tp=("signals", 1)), Message(5, acked=True)]
)
def test_only_open_records_of_this_assignment_cap(other: Message) -> None:
    """An earlier assignment's, another partition's or an acknowledged one must not stop commits for ever."""
    assert consumer(SafeConsumer, 5, [5, 6], [other])._new_offset(PLACE) == 7


@given(
    acked=st.sets(st.integers(0, 30)), unacked=st.sets(st.integers(0, 30)), committed=st.none() | st.just(0)
)
def test_no_commit_passes_an_open_record(acked: set[int], unacked: set[int], committed: int | None) -> None:
    """Whatever is acknowledged in whatever order, and acknowledgements held back are not forgotten."""
    acked = acked - unacked
    ours = consumer(SafeConsumer, committed, sorted(acked), map(Message, unacked))
    offset = ours._new_offset(PLACE)
    if offset is not None and unacked:
        assert offset <= min(unacked)
    passed = {number for number in acked if offset is not None and number < offset}
    assert set(ours._acked[PLACE]) == acked - passed


async def test_a_partition_that_leaves_amid_the_diagnosis_ends_nothing() -> None:
    """Faust's asks for a position that aiokafka asserts; ours does not ask."""

    class Gone:
        def verify_event_path(self, _now: float, _place: object) -> None:
            raise AssertionError("Partition is not assigned")

    for kind, survives in ((driver.Consumer, False), (SafeConsumer, True)):
        made = consumer(kind, None, [])
        made._thread = Gone()
        made._thread.assignment = lambda: {TP("signals", 0)}
        made.log, made._shutdown, made._stopped, made._crashed = None, *(asyncio.Event() for _ in range(3))
        made._service_loop, made._supervisor = None, None
        if survives:
            await made.verify_all_partitions_active()
        else:
            with pytest.raises(AssertionError, match="not assigned"):
                await made.verify_all_partitions_active()


def test_the_app_uses_our_transport() -> None:
    """For consuming and producing, whatever the broker URL's scheme asks for."""
    app = create_app("group", KafkaSettings.model_validate({"bootstrap": "one:9092,two:9093"}))
    assert isinstance(app.transport, SafeTransport)
    assert isinstance(app.producer_transport, SafeTransport)
    assert app.transport.Consumer is SafeConsumer


def flowing(active: Iterable[tuple[str, int]]) -> Any:
    """A consumer with the state that flow control reads."""
    made = consumer(SafeConsumer, None, [])
    made.app.in_recovery = False
    made._active_partitions, made._buffered_partitions = set(map(TP._make, active)), set()
    made._room, made._quick = asyncio.Event(), True
    made.suspend_flow, made._stopped, made._crashed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    made._service_loop = None
    return made


async def test_a_full_queue_takes_its_whole_topic_out_and_brings_it_back() -> None:
    """The other topics are fetched all the while."""
    ours = flowing([("slow", 0), ("slow", 1), ("quick", 0)])
    ours.on_buffer_full(TP("slow", 1))
    assert ours._active_partitions == {TP("quick", 0)}
    ours.on_buffer_drop(TP("slow", 1))
    assert ours._active_partitions == {TP("slow", 0), TP("slow", 1), TP("quick", 0)}
    assert ours._room.is_set()


async def test_only_fetches_that_bring_something_too_often_are_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as may follow each other at once, and then one an interval; empty ones do not count."""
    ours, waits_s = flowing([("signals", 0)]), list[float]()
    ours._moderation, ours._clock = FetchModeration(), FakeClock()
    records: dict[TP, list[object]] = {TP(*PLACE): []}
    found: Iterator[dict[TP, list[object]]] = iter([{}] * (2 * BURST) + [records] * (BURST + 1))

    async def sleep(seconds: float) -> None:
        waits_s.append(seconds)

    async def fetch(consumer: Any, *_args: Any, **_options: Any) -> Any:
        return await consumer._getmany(None, 1.0)

    async def brought(_consumer: Any, *_args: Any) -> Any:
        return next(found)

    monkeypatch.setattr("runtime.streams.transport.asyncio.sleep", sleep)
    monkeypatch.setattr(driver.Consumer, "_wait_next_records", fetch)
    monkeypatch.setattr(driver.Consumer, "_getmany", brought)
    for _ in range(3 * BURST):
        await ours._wait_next_records(1.0)
    assert waits_s == []
    await ours._wait_next_records(1.0)
    assert waits_s == [pytest.approx(INTERVAL_S)]


async def test_a_delivery_takes_no_turn_of_the_loop() -> None:
    """Nothing else runs between two deliveries that need not wait."""
    ours = flowing([])
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)

    async def deliver() -> None:
        assert not turns

    for _ in range(3):
        await ours.wait_first(deliver(), ours.suspend_flow.wait())
    assert not turns


@pytest.mark.parametrize("flag", ["suspend_flow", "_stopped", "_crashed"])
async def test_what_interrupts_a_delivery_is_left_to_the_original(
    flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspended, stopped or crashed consumer must not take the short way; nor does an unknown version."""
    originals: list[int] = []

    async def original(_self: object, *waited_for: Any, **_timeout: object) -> None:
        originals.append(len(waited_for))
        for one in waited_for:
            one.close()

    monkeypatch.setattr(driver.Consumer, "wait_first", original)
    ours = flowing([])
    getattr(ours, flag).set()
    await ours.wait_first(ours.suspend_flow.wait(), ours.suspend_flow.wait())
    ours = flowing([])
    ours._quick = False
    await ours.wait_first(ours.suspend_flow.wait(), ours.suspend_flow.wait())
    assert originals == [2, 2]


async def test_a_delivery_that_waits_is_watched_by_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where it was, beside the flow's suspension."""
    monkeypatch.setattr(driver.Consumer, "wait_first", first_of)
    ours = flowing([])
    delivered: list[str] = []

    async def deliver() -> None:
        await asyncio.sleep(0)
        delivered.append("late")

    await ours.wait_first(deliver(), ours.suspend_flow.wait())
    assert delivered == ["late"]


async def first_of(_self: object, *waited_for: Any) -> None:
    tasks = [asyncio.ensure_future(one) for one in waited_for]
    _done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def test_fausts_own_producer_is_idempotent() -> None:
    """Whoever sends through Faust gets the same guarantee."""
    settings = IdempotentProducer.__new__(IdempotentProducer)._settings_extra()
    assert settings == {"acks": "all", "enable_idempotence": True}
    assert SafeTransport.Producer is IdempotentProducer


async def test_what_faust_has_not_sent_yet_is_counted() -> None:
    """Its buffer waits for that many before it stops, as the original would."""
    app = create_app("group", KafkaSettings.model_validate({"bootstrap": "127.0.0.1:1"}))
    buffer = IdempotentProducer(SafeTransport(app.conf.broker_producer, app)).buffer
    original = ProducerBuffer.size.fget
    for count in range(3):
        assert buffer.size == original(buffer) == count
        buffer.put(object())


class Broker:
    """Tells where a partition's log begins, and what was committed of it."""

    def __init__(self, earliest_offset: int = 0, committed: int | None = None) -> None:
        self._earliest_offset = earliest_offset
        self._committed = committed
        self.rewound: list[tuple[str, int]] = []

    def assignment(self) -> set[TP]:
        return {TP(*PLACE)}

    async def seek_to_committed(self) -> dict[TP, int | None]:
        return {TP(*PLACE): self._committed}

    async def seek_to_beginning(self, *places: Any) -> None:
        self.rewound += map(tuple, places)

    async def earliest_offsets(self, tp: Any) -> dict[Any, int]:
        return {tp: self._earliest_offset}


async def test_records_that_were_dropped_on_their_way_end_the_process() -> None:
    """The original counts them as acknowledged, so they would be lost; a clean start reads them again."""
    theirs, ours = consumer(driver.Consumer, 5, []), consumer(SafeConsumer, 5, [])
    await theirs._add_gap(TP(*PLACE), 6, 9)
    assert theirs._gap[PLACE].overlaps(7)
    ours._thread = Broker(earliest_offset=0)
    with pytest.raises(FatalError, match="skipped"):
        await ours._add_gap(TP(*PLACE), 6, 9)
    assert not ours._gap[PLACE]


async def test_records_that_the_broker_has_deleted_are_passed_over() -> None:
    """After a retention shorter than an outage nothing else is possible, and a restart would not help."""
    ours = consumer(SafeConsumer, 5, [])
    ours._thread = Broker(earliest_offset=9)
    await ours._add_gap(TP(*PLACE), 6, 9)
    assert ours._gap[PLACE].overlaps(7)


@pytest.mark.parametrize(("committed", "rewound"), [(None, [PLACE]), (0, [PLACE]), (7, [])])
async def test_a_seek_goes_back_to_the_beginning_of_what_was_never_committed(
    committed: int | None, rewound: list[tuple[str, int]]
) -> None:
    """Only offsets above 0 are sought otherwise: the position would stay behind what was dropped."""
    ours = consumer(SafeConsumer, None, [])
    ours._thread, ours._read_offset = Broker(committed=committed), defaultdict(lambda: None)
    await ours.perform_seek()
    assert ours._thread.rewound == rewound
