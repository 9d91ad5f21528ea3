"""The ledger against a model, under any interleaving of deliveries, completions and rebalances."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from runtime.streams.ledger import Ledger
from runtime.streams.record import StreamRecord, TopicPartition
from tests.support.records import record

SOURCES = [TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)]


class LedgerMachine(RuleBasedStateMachine):
    """Delivers as Faust does: per partition in offset order, each assignment from anywhere it likes."""

    delivered = Bundle("delivered")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.generation = 10
        self.generations = {self.generation}
        self.generation_of: dict[TopicPartition, int] = {}
        self.next_offset = dict.fromkeys(SOURCES, 0)
        self.now_s = 0.0
        self.admitted: dict[TopicPartition, list[StreamRecord]] = {}
        self.admitted_at_s: dict[StreamRecord, float] = {}
        self.finished: set[StreamRecord] = set()
        self.acknowledged: list[StreamRecord] = []

    @rule(target=delivered, source=st.sampled_from(SOURCES), gap=st.integers(0, 2))
    def deliver(self, source: TopicPartition, gap: int) -> StreamRecord:
        """Offsets may be missing in the log."""
        if self.generation_of.get(source) != self.generation:
            self.generation_of[source] = self.generation
            self.admitted[source] = []
        offset = self.next_offset[source] + gap
        self.next_offset[source] = offset + 1
        item = record(offset, generation=self.generation, source=source)
        self.now_s += 1
        self.admitted[source].append(item)
        self.admitted_at_s[item] = self.now_s
        self.ledger.admit(item, lambda: self.acknowledged.append(item), self.now_s)
        return item

    @rule(generation=st.integers(1, 20), rewind=st.integers(0, 5))
    def rebalance(self, generation: int, rewind: int) -> None:
        """The next deliveries start further back; a group that the broker forgot counts from one again."""
        if generation in self.generations:
            generation = max(self.generations) + 1
        self.generations.add(generation)
        self.generation = generation
        for source in SOURCES:
            self.next_offset[source] = max(0, self.next_offset[source] - rewind)

    @rule(item=delivered)
    def finish(self, item: StreamRecord) -> None:
        """In any order, also twice, also long after the partition went elsewhere."""
        before = len(self.acknowledged)
        was_current = self.is_current(item)
        if was_current:
            self.finished.add(item)
        count = self.ledger.finish(item)
        assert count == len(self.acknowledged) - before
        assert was_current or count == 0

    @rule()
    def drop(self) -> None:
        """What the watch does now and then."""
        self.ledger.drop_older_than(self.generation)
        for source in [s for s, generation in self.generation_of.items() if generation < self.generation]:
            del self.generation_of[source]
            del self.admitted[source]

    def is_current(self, item: StreamRecord) -> bool:
        return item in self.admitted.get(item.source, ())

    def outstanding(self, source: TopicPartition) -> list[StreamRecord]:
        """Of the partition's present assignment, from the first record that is not finished."""
        items = self.admitted.get(source, [])
        unfinished = [index for index, item in enumerate(items) if item not in self.finished]
        return items[unfinished[0] :] if unfinished else []

    @invariant()
    def nothing_is_acknowledged_before_it_is_finished(self) -> None:
        assert set(self.acknowledged) <= self.finished
        assert len(set(self.acknowledged)) == len(self.acknowledged)

    @invariant()
    def acknowledged_is_the_finished_prefix(self) -> None:
        """In offset order, and nothing that could be acknowledged is held back."""
        for source, items in self.admitted.items():
            acknowledged = [item for item in self.acknowledged if item in items]
            assert acknowledged == items[: len(items) - len(self.outstanding(source))]

    @invariant()
    def the_oldest_is_known(self) -> None:
        heads = [waiting[0] for source in SOURCES if (waiting := self.outstanding(source))]
        oldest = min((self.admitted_at_s[item] for item in heads), default=None)
        assert self.ledger.oldest_admitted_at_s() == oldest


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
