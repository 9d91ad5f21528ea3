"""A record as roles see it: bytes and where they came from, no Faust."""

from dataclasses import dataclass
from typing import NamedTuple


class TopicPartition(NamedTuple):
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """`generation` tells under which assignment of the consumer group the record was delivered."""

    source: TopicPartition
    offset: int
    generation: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
