"""A pipeline of lists: what topics, groups and store hold, moved on step by step, for the outcome ledger."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from aiokafka import TopicPartition

from runtime.deadletter_postmark import History, history_headers, postmark_headers
from runtime.ids import uuid7
from schemas.groups import GROUPS
from schemas.headers import Headers
from schemas.plans import Plan
from schemas.records import Disposition
from schemas.topics import DEADLETTERS, SIGNALS, SIGNALS_REPLAY, WEBHOOKS_REPLAY
from sinks.reconcile import Outcome, UserState, Window
from sinks.reconcile_ledger import Ledger, MissingAlert
from sinks.reconcile_run import WEBHOOKS, Reconciliation
from sinks.reconcile_topics import TOPICS_READ, Span
from tests.support.deadletters import postmark_of

NOW_MS: Final = 1_773_480_600_000
USER: Final = UUID("019ceb00-0000-7000-8000-000000000002")
OTHER_USER: Final = UUID("019ceb00-0000-7000-8000-000000000003")


class Held(NamedTuple):
    """A record as a consumer gives it."""

    offset: int
    key: bytes
    headers: Headers


@dataclass
class Shelf:
    """One topic of one partition. `handled` ones have had their effect, `committed` ones are acknowledged."""

    records: list[Held] = field(default_factory=list)
    handled: int = 0
    committed: int = 0

    def put(self, key: bytes, headers: Headers) -> Held:
        self.records.append(Held(len(self.records), key, headers))
        return self.records[-1]

    def take(self) -> Held | None:
        """The next one; handled from now on."""
        if self.handled == len(self.records):
            return None
        self.handled += 1
        return self.records[self.handled - 1]


@dataclass
class FakePipeline:
    """Loses nothing by itself. `meanwhile` is called whenever a reader waits for an answer."""

    users_known: dict[UUID, UserState] = field(
        default_factory=lambda: {
            USER: UserState(Plan.PRO, deleted=False),
            OTHER_USER: UserState(Plan.PRO, deleted=False),
        }
    )
    shelves: dict[str, Shelf] = field(default_factory=lambda: {topic.name: Shelf() for topic in TOPICS_READ})
    rows: dict[UUID, Disposition] = field(default_factory=dict)
    dead: dict[tuple[UUID, str], int] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None
    minted: int = 0

    def accept(self, topic: str, user_id: UUID = USER, received_ms: int = NOW_MS - 1_000) -> UUID:
        """As the ingress does."""
        self.minted += 1
        signal_id = uuid7(received_ms, 0, self.minted)
        self.repeat(topic, signal_id, user_id)
        return signal_id

    def repeat(self, topic: str, signal_id: UUID, user_id: UUID = USER, redrives: int = 0) -> None:
        """A copy of an alert on a topic."""
        headers: Headers = [("ce_type", b"x"), ("ce_id", str(signal_id).encode())]
        if redrives:
            headers += history_headers(History(postmark_of().first_seen, 1, redrives))
        self.shelves[topic].put(str(user_id).encode(), headers)

    def work(self, topic: str, *, dies: bool = False) -> None:
        """Processors or sink take one record; it is acknowledged later."""
        record = self.shelves[topic].take()
        if record is None:
            return
        signal_id, user_id = _id_of(record), UUID(record.key.decode())
        if dies:
            self.bury(topic, record)
        elif topic not in WEBHOOKS:
            self.rows.setdefault(signal_id, Disposition.STORED)
        elif not self.users_known[user_id].deleted:
            self.repeat(_output(topic), signal_id, user_id)

    def bury(self, topic: str, record: Held) -> None:
        redrives = int(dict(record.headers).get("dl_redrives", b"0"))
        postmark = postmark_of(topic=topic, redrives=redrives)
        original = [header for header in record.headers if not header[0].startswith("dl_")]
        self.shelves[DEADLETTERS.name].put(record.key, [*original, *postmark_headers(postmark)])
        self.dead[_id_of(record), topic] = redrives

    def redrive(self, signal_id: UUID, topic: str, user_id: UUID = USER) -> None:
        self.repeat(topic, signal_id, user_id, self.dead.pop((signal_id, topic)) + 1)

    def commit(self, topic: str) -> None:
        shelf = self.shelves[topic]
        shelf.committed = shelf.handled

    def drain(self) -> None:
        """Until nothing waits."""
        for topic in GROUPS:
            while self.shelves[topic.name].handled < len(self.shelves[topic.name].records):
                self.work(topic.name)
            self.commit(topic.name)

    async def spans(self, from_ms: int | None) -> dict[TopicPartition, Span]:
        del from_ms
        committed = {name: shelf.committed for name, shelf in self.shelves.items()}
        self.meanwhile()
        return {
            (place := TopicPartition(name, 0)): Span(place, 0, len(shelf.records), committed[name])
            for name, shelf in self.shelves.items()
        }

    async def read(self, spans: Sequence[Span]) -> AsyncIterator[tuple[Span, Sequence[Any]]]:
        for span in spans:
            self.meanwhile()
            yield span, self.shelves[span.place.topic].records[span.start : span.end]

    async def dispositions(self, signal_ids: Sequence[UUID]) -> dict[UUID, Disposition]:
        self.meanwhile()
        return {signal_id: self.rows[signal_id] for signal_id in signal_ids if signal_id in self.rows}

    async def users(self, user_ids: Collection[UUID]) -> dict[UUID, UserState]:
        return {user_id: self.users_known[user_id] for user_id in user_ids if user_id in self.users_known}


@dataclass(frozen=True)
class Result:
    """What a run found."""

    accepted: int
    totals: dict[Outcome, int]
    missing: list[MissingAlert]
    unreadable: int

    @property
    def missing_ids(self) -> set[UUID]:
        return {alert.signal_id for alert in self.missing}


async def reconcile(pipeline: FakePipeline, window: Window = Window()) -> Result:  # noqa: B008 - frozen
    ledger = Ledger()
    try:
        run = Reconciliation(pipeline, pipeline, ledger, window, NOW_MS)
        await run.begin()
        await run.read(lambda _offsets: None)
        await run.settle(lambda _alerts: None)
        await run.look_again()
        totals = {outcome: alerts for outcome, alerts in ledger.totals().items() if alerts}
        return Result(ledger.accepted(), totals, list(ledger.missing()), run.reading.unreadable)
    finally:
        ledger.close()


def _id_of(record: Held) -> UUID:
    return UUID(dict(record.headers)["ce_id"].decode())


def _output(topic: str) -> str:
    return SIGNALS_REPLAY.name if topic == WEBHOOKS_REPLAY.name else SIGNALS.name
