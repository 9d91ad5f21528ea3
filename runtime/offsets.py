"""Committed offsets as a file beside a dump, and what restoring them means on the broker as it is. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from aiokafka import TopicPartition

from runtime.errors import FatalError
from schemas.groups import GROUPS
from schemas.topics import SIGNALS, SIGNALS_REPLAY

VERSION: Final = 1
STORE_GROUPS: Final = (GROUPS[SIGNALS], GROUPS[SIGNALS_REPLAY])
"""The consumer groups that feed the store: the sink's, and that of its replay lane."""

Offset = Annotated[int, msgspec.Meta(ge=0)]
Offsets = Mapping[TopicPartition, int]


class OffsetsFileError(FatalError):
    """The file is not one that `alerts offsets save` wrote completely."""


class SavedOffsets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `groups`: group → topic → partition → the next offset to read.

    `saved_at` is after the offsets were read: what is newer is behind them. `every_feeder` tells that no
    group was named: then all that fed the store are in it, and a group that is not had read nothing.
    """

    version: int
    saved_at: datetime
    cluster_id: str
    every_feeder: bool
    groups: dict[str, dict[str, dict[int, Offset]]]

    def offsets(self, group: str) -> dict[TopicPartition, int]:
        """Empty for a group that is not in the file."""
        topics = self.groups.get(group, {})
        return {
            TopicPartition(topic, partition): offset
            for topic, partitions in topics.items()
            for partition, offset in partitions.items()
        }


@dataclass(frozen=True, slots=True)
class Held:
    """What a partition holds now, `end` excluded. `newer` is the first record newer than the file, if any."""

    start: int
    end: int
    newer: int | None


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of one partition. `target` is None when there is none to set; `loss` says what is gone."""

    place: TopicPartition
    saved: int | None
    target: int | None
    again: int
    loss: str | None


def nested(offsets: Offsets) -> dict[str, dict[int, int]]:
    """By topic and partition, in order."""
    topics: dict[str, dict[int, int]] = {}
    for place in sorted(offsets):
        topics.setdefault(place.topic, {})[place.partition] = offsets[place]
    return topics


def encode_offsets(saved: SavedOffsets) -> bytes:
    return msgspec.json.format(msgspec.json.encode(saved), indent=2) + b"\n"


def decode_offsets(content: bytes) -> SavedOffsets:
    """Raises `OffsetsFileError`."""
    try:
        saved = msgspec.json.decode(content, type=SavedOffsets)
    except msgspec.DecodeError as error:
        raise OffsetsFileError(f"not a complete file of `alerts offsets save`: {error}") from error
    if saved.version != VERSION or saved.saved_at.tzinfo is None:
        raise OffsetsFileError(f"a file of version {saved.version}; this program reads version {VERSION}")
    return saved


def newer_than_ms(saved: SavedOffsets) -> int:
    """The first millisecond of which no record was read when the file was written."""
    epoch = datetime.fromtimestamp(0, tz=saved.saved_at.tzinfo)
    return (saved.saved_at - epoch) // timedelta(milliseconds=1) + 1


def unread_rows(
    group: str, committed: Offsets, held: Mapping[TopicPartition, Held]
) -> list[tuple[str, str, str, str]]:
    """One for each topic: group, topic, partitions and the records that the group has not read."""
    unread: dict[str, list[int]] = {}
    for place in sorted(held):
        span = held[place]
        unread.setdefault(place.topic, []).append(span.end - max(span.start, committed.get(place, 0)))
    return [(group, topic, str(len(counts)), str(sum(counts))) for topic, counts in unread.items()]


def plan_moves(
    saved: Offsets,
    committed: Collection[TopicPartition],
    held: Mapping[TopicPartition, Held],
    *,
    same_log: bool,
) -> list[Move]:
    """One move for each partition that is in the file, was read since, or belongs to one of these topics.

    Never later than where the dump ends: reading again is harmless, skipping is not. What the file does not
    know is read from its beginning. `same_log` is false on another Kafka cluster, where offsets mean nothing.
    """
    return [
        _move(place, saved.get(place), held.get(place), same_log=same_log)
        for place in sorted({*saved, *committed, *held})
    ]


def _move(place: TopicPartition, saved: int | None, held: Held | None, *, same_log: bool) -> Move:
    if held is None:
        return Move(place, saved, None, 0, "it does not exist; `alerts topics create` makes it")
    target, loss = _target(saved, held, same_log=same_log)
    return Move(place, saved, target, held.end - target, loss)


def _target(saved: int | None, held: Held, *, same_log: bool) -> tuple[int, str | None]:
    """A topic that was made anew is known by ending too early, or by holding nothing that is old enough."""
    if saved is None:
        gone = f"records before {held.start} were deleted" if held.start else None
        return held.start, gone
    if not same_log:
        return held.start, f"another Kafka cluster: what the old one held from {saved} on is not here"
    made_anew = held.newer == held.start and held.newer < saved
    if held.end < saved or made_anew:
        return held.start, f"the topic was made anew: what it held from {saved} on is gone"
    if saved < held.start:
        return held.start, f"up to {held.start - saved} records from {saved} on were deleted by retention"
    return min(saved, saved if held.newer is None else held.newer), None
