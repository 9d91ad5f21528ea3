"""Which records are in work, and which may be acknowledged: in offset order, per partition and generation."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.streams.record import StreamRecord, TopicPartition

Acknowledge = Callable[[], object]


@dataclass(slots=True)
class _Entry:
    record: StreamRecord
    acknowledge: Acknowledge
    admitted_at_s: float
    done: bool = False


@dataclass(slots=True)
class _Partition:
    generation: int
    last_offset: int = -1
    waiting: deque[_Entry] = field(default_factory=deque)
    by_offset: dict[int, _Entry] = field(default_factory=dict)


class Ledger:
    """Admits records in the order of delivery and acknowledges the finished prefix of each partition.

    A record of a newer generation replaces all that is known of its partition: the older ones are delivered
    again to whoever owns the partition now, and finishing them later acknowledges nothing. So does a record
    that was admitted before: a static member that joins again keeps its generation, and Faust reads from the
    committed offset anew. Finishing either delivery of a record is then as good as the other.
    Not thread-safe; lives in the event loop.
    """

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, _Partition] = {}

    def admit(self, record: StreamRecord, acknowledge: Acknowledge, now_s: float) -> None:
        partition = self._partitions.get(record.source)
        if (
            partition is None
            or partition.generation != record.generation
            or record.offset <= partition.last_offset
        ):
            partition = self._partitions[record.source] = _Partition(record.generation)
        partition.last_offset = record.offset
        entry = _Entry(record, acknowledge, now_s)
        partition.waiting.append(entry)
        partition.by_offset[record.offset] = entry

    def is_current(self, record: StreamRecord) -> bool:
        """Whether finishing the record can still acknowledge it."""
        partition = self._partitions.get(record.source)
        return partition is not None and partition.generation == record.generation

    def finish(self, record: StreamRecord) -> int:
        """The record's effect is durable. Acknowledges what that completes; returns how many.

        Nothing for a record that is not, or no longer, in work.
        """
        if not self.is_current(record):
            return 0
        partition = self._partitions[record.source]
        finished = partition.by_offset.get(record.offset)
        if finished is None:
            return 0
        finished.done = True
        acknowledged = 0
        while partition.waiting and partition.waiting[0].done:
            entry = partition.waiting.popleft()
            del partition.by_offset[entry.record.offset]
            entry.acknowledge()
            acknowledged += 1
        return acknowledged

    def oldest_admitted_at_s(self) -> float | None:
        """When the longest waiting record was admitted, over all partitions."""
        heads = (partition.waiting[0] for partition in self._partitions.values() if partition.waiting)
        return min((entry.admitted_at_s for entry in heads), default=None)

    def drop_older_than(self, generation: int) -> None:
        """Forget what belonged to earlier assignments."""
        self._partitions = {
            source: partition
            for source, partition in self._partitions.items()
            if partition.generation >= generation
        }
