"""Stream records for tests that need no broker."""

from collections.abc import Sequence

from runtime.streams.record import StreamRecord, TopicPartition

SOURCE = TopicPartition("signals", 0)


def record(
    offset: int,
    *,
    generation: int = 1,
    source: TopicPartition = SOURCE,
    key: bytes = b"key",
    value: bytes | None = None,
) -> StreamRecord:
    """The record at an offset; its value is the offset as text unless it is given."""
    return StreamRecord(
        source=source,
        offset=offset,
        generation=generation,
        timestamp_ms=1_773_480_413_125,
        key=key,
        value=b"%d" % offset if value is None else value,
        headers=(("ce_id", b"id-%d" % offset),),
    )


def records(offsets: Sequence[int]) -> list[StreamRecord]:
    return [record(offset) for offset in offsets]
