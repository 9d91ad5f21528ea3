"""The file beside a dump, and where a group goes on after a restore."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runtime.offsets import (
    Held,
    Move,
    OffsetsFileError,
    SavedOffsets,
    decode_offsets,
    encode_offsets,
    nested,
    newer_than_ms,
    plan_moves,
    unread_rows,
)

PLACE = TopicPartition("signals", 3)
SAVED = SavedOffsets(
    version=1,
    saved_at=datetime(2026, 3, 14, 9, 26, 53, 589_793, tzinfo=UTC),
    cluster_id="one",
    every_feeder=True,
    groups={"alerts.sink": {"signals": {0: 7, 3: 0}}, "alerts.sink-replay": {}},
)


def move_of(saved: int | None, held: Held | None, *, same_log: bool = True) -> Move:
    offsets = {} if saved is None else {PLACE: saved}
    [move] = plan_moves(offsets, [PLACE], {} if held is None else {PLACE: held}, same_log=same_log)
    return move


def test_a_file_reads_back_as_it_was_written() -> None:
    """Partitions by number, a group without offsets included."""
    saved = decode_offsets(encode_offsets(SAVED))
    assert saved == SAVED
    assert saved.offsets("alerts.sink") == {TopicPartition("signals", 0): 7, PLACE: 0}
    assert saved.offsets("unknown") == {}
    assert nested(saved.offsets("alerts.sink")) == SAVED.groups["alerts.sink"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        encode_offsets(SAVED)[:-10],
        encode_offsets(replace(SAVED, version=2)),
        encode_offsets(SAVED).replace(b": 7", b": -7"),
        encode_offsets(replace(SAVED, saved_at=datetime(2026, 3, 14))),  # noqa: DTZ001 - without a zone
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    """Cut short, of another version, or with numbers that no group can have."""
    with pytest.raises(OffsetsFileError):
        decode_offsets(content)


def test_records_of_the_moment_of_the_file_are_not_newer() -> None:
    """Whatever was read has a time up to the file's own."""
    moment = datetime.fromtimestamp(newer_than_ms(SAVED) / 1000, UTC)
    assert timedelta(0) < moment - SAVED.saved_at <= timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("saved", "held", "target"),
    [
        (5, Held(0, 9, 7), 5),
        (5, Held(5, 5, None), 5),
        (5, Held(0, 5, None), 5),
        # a clock that is ahead: earlier is harmless
        (5, Held(0, 9, 4), 4),
        (5, Held(5, 9, 5), 5),
        (None, Held(0, 9, 0), 0),
        (0, Held(0, 9, 0), 0),
    ],
)
def test_a_group_goes_on_where_the_dump_ends(saved: int | None, held: Held, target: int) -> None:
    """What the file does not know is read from its beginning."""
    assert move_of(saved, held) == Move(PLACE, saved, target, held.end - target, None)


@pytest.mark.parametrize(
    ("saved", "held", "target", "loss"),
    [
        (5, Held(8, 9, 8), 8, "up to 3 records"),
        (5, Held(0, 3, None), 0, "made anew"),
        (5, Held(0, 9, 0), 0, "made anew"),
        (5, Held(8, 8, None), 8, "up to 3 records"),
        (None, Held(8, 9, 8), 8, "records before 8"),
        (5, None, None, "does not exist"),
    ],
)
def test_what_is_gone_is_told(saved: int | None, held: Held | None, target: int | None, loss: str) -> None:
    """By retention, with a topic that was made anew, or with the partition; what is left is read."""
    move = move_of(saved, held)
    assert move.target == target
    assert loss in (move.loss or "")


def test_offsets_of_another_cluster_mean_nothing() -> None:
    """Everything is read, and what the old cluster held is told to be gone."""
    move = move_of(5, Held(2, 9, 7), same_log=False)
    assert (move.target, move.again) == (2, 7)
    assert "another Kafka cluster" in (move.loss or "")


@given(
    saved=st.integers(0, 20),
    start=st.integers(0, 20),
    length=st.integers(0, 20),
    newer=st.none() | st.integers(0, 20),
)
def test_nothing_is_skipped_in_silence(saved: int, start: int, length: int, newer: int | None) -> None:
    """The target lies within the partition, and behind the saved offset only when a loss is told."""
    end = start + length
    first = None if newer is None or not length else start + newer % length
    move = move_of(saved, Held(start, end, first))
    assert move.target is not None
    assert start <= move.target <= end
    assert move.target <= saved or move.loss is not None


def test_every_partition_of_a_topic_is_set() -> None:
    """Also one that came with growth, and one that was first read after the dump."""
    places = [TopicPartition("signals", number) for number in range(3)]
    held = {place: Held(0, 4, None) for place in places}
    moves = plan_moves({places[0]: 2}, [places[1]], held, same_log=True)
    assert [(move.place, move.target) for move in moves] == [(places[0], 2), (places[1], 0), (places[2], 0)]


def test_unread_records_are_counted_by_topic() -> None:
    """From where the group is, or from what is left when that is gone."""
    places = [TopicPartition("signals", number) for number in range(3)]
    held = {place: Held(2, 10, None) for place in places}
    assert unread_rows("one", {places[0]: 9, places[1]: 0}, held) == [("one", "signals", "3", "17")]
