"""No refused call is missing or counted twice, whatever becomes of the records."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.refusals import OTHER, RefusalLedger, RefusalReporter
from runtime.errors import TransientError
from runtime.metrics import create_metrics
from runtime.publisher import Message
from schemas.codec import decode
from schemas.records import RefusedCalls
from tests.support.clock import START_MS, FakeClock

CAPACITY = 10
REASONS = {"not_found": 404, "webhook_disabled": 403, "too_many": 429}


class Topic:
    """Keeps records by id, as the store does. The next call may fail, with some or all of it written."""

    def __init__(self) -> None:
        self.rows: dict[UUID, RefusedCalls] = {}
        self.written_before_failure: int | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        written, self.written_before_failure = self.written_before_failure, None
        for message in messages[:written]:
            refused = decode(message.value, RefusedCalls)
            assert self.rows.setdefault(refused.id, refused) == refused
        if written is not None:
            raise TransientError("away")


class RefusalMachine(RuleBasedStateMachine):
    """Notes and flushes, while the broker answers, fails, or keeps what it says it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = RefusalLedger(CAPACITY)
        self.reporter = RefusalReporter(self.ledger, FakeClock(), create_metrics())
        self.topic = Topic()
        self.noted: Counter[tuple[str, int]] = Counter()
        self.apart: Counter[tuple[str, str]] = Counter()
        self.flushed = True

    @rule(
        address=st.integers(1, 20).map(str),
        reason=st.sampled_from(sorted(REASONS)),
        user=st.sampled_from([None, UUID(int=1), UUID(int=2)]),
        step_ms=st.integers(-1000, 1000),
        times=st.integers(1, 3),
    )
    def note(self, address: str, reason: str, user: UUID | None, step_ms: int, times: int) -> None:
        for _ in range(times):
            self.ledger.note(address, reason, REASONS[reason], user, START_MS + step_ms)
        self.noted[reason, REASONS[reason]] += times
        self.apart[address, reason] += times
        self.flushed = False

    @rule(written=st.integers(0, 5))
    def flush_in_vain(self, written: int) -> None:
        self.topic.written_before_failure = written
        try:
            asyncio.run(self.reporter.flush(self.topic))
        except TransientError:
            return
        self.topic.written_before_failure = None

    @precondition(lambda self: not self.flushed)
    @rule()
    def flush(self) -> None:
        """Now every call is in a row, under its reason and status, and no address has too many."""
        asyncio.run(self.reporter.flush(self.topic))
        self.flushed = True
        totals: Counter[tuple[str, int]] = Counter()
        told: Counter[tuple[str, str]] = Counter()
        for row in self.topic.rows.values():
            assert row.first_at <= row.last_at
            totals[row.reason, row.status] += row.count
            if row.client_address != OTHER:
                told[row.client_address, row.reason] += row.count
        assert totals == self.noted
        assert told <= self.apart

    @invariant()
    def the_ledger_is_bounded(self) -> None:
        assert len(self.ledger) <= CAPACITY + len(REASONS)


TestRefusals = RefusalMachine.TestCase
TestRefusals.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
