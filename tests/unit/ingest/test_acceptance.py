"""Which way an alert becomes durable, and what is told when none does."""

import asyncio

import pytest

from ingest.acceptance import Acceptance
from ingest.delivery import KafkaDelivery
from ingest.fate import Fate
from ingest.spool import SpoolRefusal, SpoolRefusedError
from runtime.clock_guard import ClockGuard
from runtime.process import ProcessContext
from runtime.publisher import Message
from schemas.topics import DEADLETTERS
from tests.support.clock import FakeClock

SIGNAL_ID = b"0195e7e0-0000-7000-8000-000000000001"
MESSAGE = Message("webhooks.raw", b"user", b"body", [("signal_id", SIGNAL_ID)])
LONG_S = 30.0
SOON_S = 0.05


class KafkaStub(KafkaDelivery):
    """Tells the fates it was given."""

    def __init__(self, *fates: Fate, silent: bool = False) -> None:
        super().__init__(lambda: None, 2**30, ProcessContext(), ClockGuard(FakeClock()))
        self.fates = list(fates)
        self.is_silent = silent
        self.deadlines_s: list[float] = []
        self.messages: list[Message] = []

    @property
    def silent(self) -> bool:
        return self.is_silent

    async def deliver(self, message: Message, deadline_s: float) -> Fate:
        self.messages.append(message)
        self.deadlines_s.append(deadline_s)
        return self.fates.pop(0)


class SpoolStub:
    """Keeps what is put, refuses, or never answers."""

    def __init__(self, *, refuses: bool = False, hangs: bool = False) -> None:
        self.kept: list[Message] = []
        self._refuses = refuses
        self._hangs = hangs

    async def put(self, message: Message) -> None:
        if self._refuses:
            raise SpoolRefusedError(SpoolRefusal.FULL)
        if self._hangs:
            await asyncio.Event().wait()
        self.kept.append(message)


async def accept(kafka: KafkaStub, spool: SpoolStub, answer_deadline_s: float = LONG_S) -> Fate:
    acceptance = Acceptance(kafka, spool, FakeClock())  # type: ignore[arg-type]  # the part that is used
    return await acceptance.accept(MESSAGE, 1.5, answer_deadline_s)


async def test_what_kafka_acks_never_touches_the_disk() -> None:
    """The common way costs no sync."""
    kafka, spool = KafkaStub(Fate.ACKED), SpoolStub()
    assert await accept(kafka, spool) is Fate.ACKED
    assert (spool.kept, kafka.deadlines_s) == ([], [1.5])


@pytest.mark.parametrize("fate", [Fate.UNKNOWN, Fate.REFUSED, Fate.IMPOSSIBLE])
async def test_what_kafka_does_not_ack_is_spooled(fate: Fate) -> None:
    """Whether or not it was handed over: the same record under the same id."""
    spool = SpoolStub()
    assert await accept(KafkaStub(fate), spool) is Fate.SPOOLED
    assert spool.kept == [MESSAGE]


async def test_a_silent_kafka_is_not_waited_for() -> None:
    """The record goes straight to the spool."""
    kafka, spool = KafkaStub(silent=True), SpoolStub()
    assert await accept(kafka, spool) is Fate.SPOOLED
    assert kafka.deadlines_s == []


async def test_a_silent_kafka_is_asked_when_the_spool_refuses() -> None:
    """It is the only way left."""
    assert await accept(KafkaStub(Fate.ACKED, silent=True), SpoolStub(refuses=True)) is Fate.ACKED


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("fate", [Fate.UNKNOWN, Fate.REFUSED])
async def test_when_both_refuse_it_is_told_what_may_still_be_written(fate: Fate, *, silent: bool) -> None:
    """Only what was never handed to anybody is refused for certain."""
    assert await accept(KafkaStub(fate, silent=silent), SpoolStub(refuses=True)) is fate


@pytest.mark.parametrize("silent", [False, True])
async def test_a_spool_that_does_not_answer_may_have_written(*, silent: bool) -> None:
    """The answer comes in time all the same."""
    kafka = KafkaStub(Fate.REFUSED, silent=silent)
    assert await accept(kafka, SpoolStub(hangs=True), SOON_S) is Fate.UNKNOWN


async def test_what_drains_is_gone_only_once_it_is_acked() -> None:
    """Anything else is tried again."""
    spool = SpoolStub()
    acceptance = Acceptance(KafkaStub(Fate.UNKNOWN, Fate.REFUSED, Fate.ACKED), spool, FakeClock())  # type: ignore[arg-type]  # as above
    assert [await acceptance.redeliver(MESSAGE) for _ in range(3)] == [False, False, True]


async def test_what_its_topic_will_never_take_drains_as_a_dead_letter() -> None:
    """It holds up nobody behind it, and its bytes and id are kept where operators look."""
    kafka = KafkaStub(Fate.IMPOSSIBLE, Fate.IMPOSSIBLE, Fate.ACKED)
    acceptance = Acceptance(kafka, SpoolStub(), FakeClock())  # type: ignore[arg-type]  # as above
    assert [await acceptance.redeliver(MESSAGE) for _ in range(2)] == [False, True]
    *tried, letter = kafka.messages
    headers = dict(letter.headers)
    assert tried == [MESSAGE, MESSAGE]
    assert (letter.topic, letter.key, letter.value) == (DEADLETTERS.name, b"user", b"body")
    assert (headers["dl_stage"], headers["dl_topic"]) == (b"ingest", b"webhooks.raw")
    assert (headers["dl_reason"], headers["signal_id"]) == (b"refused_by_topic", SIGNAL_ID)


async def test_a_dead_letter_that_is_not_acked_is_tried_again() -> None:
    """The record stays in the spool until one of the two topics has it."""
    kafka = KafkaStub(Fate.IMPOSSIBLE, Fate.IMPOSSIBLE, Fate.UNKNOWN)
    acceptance = Acceptance(kafka, SpoolStub(), FakeClock())  # type: ignore[arg-type]  # as above
    assert [await acceptance.redeliver(MESSAGE) for _ in range(2)] == [False, False]


async def test_what_was_refused_in_a_batch_is_tried_alone_before_it_is_buried() -> None:
    """A topic's limit is on the batch: its neighbours may have been what was too much."""
    kafka = KafkaStub(Fate.IMPOSSIBLE, Fate.ACKED)
    acceptance = Acceptance(kafka, SpoolStub(), FakeClock())  # type: ignore[arg-type]  # as above
    assert [await acceptance.redeliver(MESSAGE) for _ in range(2)] == [False, True]
    assert kafka.messages == [MESSAGE, MESSAGE]
