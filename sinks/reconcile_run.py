"""One run of the ledger: topics first, then the store, then a second look at what seems to be missing.

The order makes a record that is consumed meanwhile move from `in_flight` to what became of it, and never be
called missing: an alert is followed from what was consumed by the start to what lies there at its end.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from aiokafka import TopicPartition

from runtime.deadletter_postmark import Postmark, read_deadletter, read_history
from schemas.records import Disposition
from schemas.topics import (
    DEADLETTERS,
    SIGNALS,
    SIGNALS_REPLAY,
    WEBHOOKS_OVERFLOW,
    WEBHOOKS_RAW,
    WEBHOOKS_REPLAY,
)
from sinks.reconcile import (
    NOBODY,
    Outcome,
    Trace,
    UserState,
    Window,
    outcome_of,
    received_ms_of,
    signal_id_of,
    user_id_of,
)
from sinks.reconcile_ledger import ON_SIGNALS, WAITING, Ledger, Marked, Tried
from sinks.reconcile_store import OutcomeStore
from sinks.reconcile_topics import TOPICS_READ, Span, next_span

WEBHOOKS: Final = frozenset(topic.name for topic in (WEBHOOKS_RAW, WEBHOOKS_OVERFLOW, WEBHOOKS_REPLAY))
PARSED: Final = frozenset(topic.name for topic in (SIGNALS, SIGNALS_REPLAY))

OnDone = Callable[[int], None]
Spans = Mapping[TopicPartition, Span]


class Topics(Protocol):
    """As `TopicReader`."""

    async def spans(self, from_ms: int | None) -> dict[TopicPartition, Span]: ...

    def read(self, spans: Sequence[Span]) -> AsyncIterator[tuple[Span, Sequence[Any]]]: ...


class _Alert(NamedTuple):
    """A record that is about an alert of the window."""

    offset: int
    headers: Mapping[str, bytes | None]
    signal_id: bytes
    user_id: bytes


@dataclass(slots=True)
class Reading:
    """Puts records into the ledger. `unreadable` counts webhooks without an id that could be followed."""

    ledger: Ledger
    window: Window
    accepting: bool = True
    unreadable: int = 0

    def note(self, span: Span, records: Sequence[Any]) -> None:
        topic = span.place.topic
        if topic == DEADLETTERS.name:
            self._note_letters(records)
            return
        mark = ON_SIGNALS if topic in PARSED else 0
        marked: list[Marked] = []
        put_back: list[Tried] = []
        for alert in self._wanted(records, topic):
            waiting = WAITING if span.waits(alert.offset) else 0
            marked.append((alert.signal_id, alert.user_id, mark | waiting))
            if "dl_redrives" in alert.headers:
                put_back.append((alert.signal_id, topic, read_history(alert.headers.items()).redrives))
        self._put(marked, accepting=topic in WEBHOOKS)
        self.ledger.note_redriven(put_back)

    def _put(self, marked: Iterable[Marked], *, accepting: bool) -> None:
        if accepting and self.accepting:
            self.ledger.accept(marked)
        else:
            self.ledger.mark(marked)

    def _wanted(self, records: Sequence[Any], topic: str) -> Iterator[_Alert]:
        for record in records:
            headers = dict(record.headers)
            signal_id, user_id = signal_id_of(headers), user_id_of(record.key)
            if signal_id is None:
                self._note_unreadable(topic, user_id)
            elif self.window.holds(received_ms_of(signal_id), user_id):
                yield _Alert(record.offset, headers, signal_id, user_id)

    def _note_unreadable(self, topic: str, user_id: bytes) -> None:
        wanted = self.window.user_id is None or user_id == self.window.user_id
        if topic in WEBHOOKS and self.accepting and wanted:
            self.unreadable += 1

    def _note_letters(self, records: Sequence[Any]) -> None:
        letters: list[Tried] = []
        for alert in self._wanted(records, DEADLETTERS.name):
            postmark = read_deadletter(alert.headers.items())
            if not isinstance(postmark, Postmark) or postmark.topic not in WEBHOOKS | PARSED:
                continue
            letters.append((alert.signal_id, postmark.topic, postmark.redrives))
            if postmark.topic in WEBHOOKS and postmark.offset is None:
                # accepted by the ingress, and refused by the topic that should have held it
                self._put([(alert.signal_id, alert.user_id, 0)], accepting=True)
        self.ledger.note_letters(letters)


class Reconciliation:
    """`begin`, `read`, `settle` and `look_again`, in this order; then the ledger tells the result.

    `on_done` is told how many offsets or alerts were done. Errors are those of the topics and the store.
    """

    def __init__(
        self, topics: Topics, store: OutcomeStore, ledger: Ledger, window: Window, now_ms: int
    ) -> None:
        self.ledger = ledger
        self.reading = Reading(ledger, window)
        self._topics = topics
        self._store = store
        self._now_ms = now_ms
        self._spans: Spans = {}
        self._users: dict[UUID, UserState] = {}

    async def begin(self) -> int:
        """Fixes what is read; returns how many offsets that is."""
        self._spans = await self._topics.spans(self.reading.window.from_ms)
        return sum(span.end - span.start for span in self._spans.values())

    async def read(self, on_done: OnDone) -> None:
        await self._read(self._spans, on_done)

    async def settle(self, on_done: OnDone) -> None:
        """Finds the outcome of every accepted alert."""
        for traces in self.ledger.traces():
            self.ledger.settle(await self._outcomes(traces))
            on_done(len(traces))

    async def look_again(self) -> None:
        """Reads what came meanwhile and asks anew for what seems to be missing."""
        if not self.ledger.totals().get(Outcome.MISSING):
            return
        spans = await self._topics.spans(self.reading.window.from_ms)
        self.reading.accepting = False
        await self._read(
            {
                place: next_span(self._spans[place], span)
                for place, span in spans.items()
                if place in self._spans
            },
            lambda _offsets: None,
        )
        self._users.clear()
        for traces in self.ledger.missing_traces():
            self.ledger.settle_again(await self._outcomes(traces))

    async def _read(self, spans: Spans, on_done: OnDone) -> None:
        # webhooks before signals and letters: these only add to alerts that are known
        for topic in TOPICS_READ:
            own = [span for span in spans.values() if span.place.topic == topic.name]
            async for span, records in self._topics.read(own):
                self.reading.note(span, records)
                on_done(len(records))

    async def _outcomes(self, traces: Sequence[Trace]) -> list[tuple[Trace, Outcome]]:
        found = await self._store.dispositions([trace.signal_id for trace in traces])
        absent = [trace for trace in traces if trace.signal_id not in found]
        await self._learn_users(absent)
        return [(trace, self._outcome(trace, found.get(trace.signal_id))) for trace in traces]

    async def _learn_users(self, traces: Iterable[Trace]) -> None:
        wanted = {UUID(bytes=trace.user_id) for trace in traces if trace.user_id != NOBODY}
        unknown = wanted - self._users.keys()
        if unknown:
            self._users |= await self._store.users(unknown)

    def _outcome(self, trace: Trace, disposition: Disposition | None) -> Outcome:
        user = None if trace.user_id == NOBODY else self._users.get(UUID(bytes=trace.user_id))
        return outcome_of(trace, disposition, user, self._now_ms)
