"""The second lock: a commit never passes a record that is not acknowledged, whatever was acknowledged."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.consumer import IntervalTree
from faust.transport.drivers import aiokafka as driver
from hypothesis import given
from hypothesis import strategies as st

from runtime.settings import KafkaSettings
from runtime.streams.app import create_app
from runtime.streams.transport import CappedConsumer, CappedTransport

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
    ours = consumer(CappedConsumer, committed, acked, [message])
    assert ours._new_offset(PLACE) is None
    assert ours._acked[PLACE] == acked
    message.acked = True
    ours._acked[PLACE].append(unacked)
    ours._acked_index[PLACE].add(unacked)
    assert ours._new_offset(PLACE) == acked[-1] + 1
    assert ours._acked[PLACE] == []


def test_the_finished_prefix_is_committed() -> None:
    """The cap holds back what lies behind the open record, no more."""
    ours = consumer(CappedConsumer, 3, [3, 4, 6, 7], [Message(5)])
    assert ours._new_offset(PLACE) == 5
    assert ours._acked[PLACE] == [6, 7]
    assert ours._new_offset(PLACE) is None


def test_offsets_missing_in_the_log_count_as_done_up_to_the_cap() -> None:
    """Gaps of compaction are bridged, but not the one behind an open record."""
    ours = consumer(CappedConsumer, 0, [0, 4], [Message(5)])
    ours._gap[PLACE].addi(1, 4)
    ours._gap[PLACE].addi(6, 9)
    assert ours._new_offset(PLACE) == 5
    assert [tuple(gap)[:2] for gap in ours._gap[PLACE]] == [(6, 9)]


@pytest.mark.parametrize(
    "other", [Message(5, generation_id=0), Message(5, tp=("signals", 1)), Message(5, acked=True)]
)
def test_only_open_records_of_this_assignment_cap(other: Message) -> None:
    """An earlier assignment's, another partition's or an acknowledged one must not stop commits for ever."""
    assert consumer(CappedConsumer, 5, [5, 6], [other])._new_offset(PLACE) == 7


@given(
    acked=st.sets(st.integers(0, 30)), unacked=st.sets(st.integers(0, 30)), committed=st.none() | st.just(0)
)
def test_no_commit_passes_an_open_record(acked: set[int], unacked: set[int], committed: int | None) -> None:
    """Whatever is acknowledged in whatever order, and acknowledgements held back are not forgotten."""
    acked = acked - unacked
    ours = consumer(CappedConsumer, committed, sorted(acked), map(Message, unacked))
    offset = ours._new_offset(PLACE)
    if offset is not None and unacked:
        assert offset <= min(unacked)
    passed = {number for number in acked if offset is not None and number < offset}
    assert set(ours._acked[PLACE]) == acked - passed


def test_the_app_uses_our_transport() -> None:
    """For consuming and producing, whatever the broker URL's scheme asks for."""
    app = create_app("group", KafkaSettings.model_validate({"bootstrap": "one:9092,two:9093"}))
    assert isinstance(app.transport, CappedTransport)
    assert isinstance(app.producer_transport, CappedTransport)
    assert app.transport.Consumer is CappedConsumer
