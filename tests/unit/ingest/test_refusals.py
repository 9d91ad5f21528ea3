"""Refused calls are counted in bounded memory and published until acked."""

import asyncio
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from aiokafka import errors as kafka

from ingest.refusals import ADDRESS_CHARS, BATCH, RefusalLedger, RefusalReporter, refused_message
from runtime.clock import utc_from_ms
from runtime.errors import TransientError
from runtime.ids import unix_ms_of
from runtime.metrics import create_metrics
from runtime.publisher import Message
from schemas.codec import decode
from schemas.records import RefusedCalls
from schemas.topics import WEBHOOKS_REFUSED
from tests.support.clock import START_MS, EagerClock, FakeClock
from tests.support.publisher import MemoryPublisher

USER = UUID("019a0000-0000-7000-8000-00000000000a")
ADDRESS = "203.0.113.7"


class HangingPublisher:
    """Never acks. Says when it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.messages: list[Message] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.messages += messages
        self.asked.set()
        await asyncio.Event().wait()


class BreakingPublisher(MemoryPublisher):
    """Takes one batch and no more."""

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.calls:
            raise TransientError("away")
        await super().publish(messages)


class EndingPublisher(MemoryPublisher):
    """Cancels its caller's task with the last call, to end a loop that never ends."""

    def __init__(self, end_after: int, *failures: Exception) -> None:
        super().__init__(*failures)
        self._end_after = end_after

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.calls + 1 == self._end_after and (task := asyncio.current_task()) is not None:
            task.cancel()
        await super().publish(messages)


def published(messages: Sequence[Message]) -> list[RefusedCalls]:
    return [decode(message.value, RefusedCalls) for message in messages]


def noted(ledger: RefusalLedger, calls: int = 1, address: str = ADDRESS) -> None:
    for _ in range(calls):
        ledger.note(address, "not_found", 404, None, START_MS)


def strange(ledger: RefusalLedger, numbers: range) -> None:
    for number in numbers:
        ledger.note(f"198.51.100.{number}", "not_found", 404, None, START_MS)


def counts(refused: Iterable[RefusedCalls]) -> list[tuple[str, int]]:
    return [(calls.client_address, calls.count) for calls in refused]


@pytest.fixture
def ledger() -> RefusalLedger:
    return RefusalLedger()


@pytest.fixture
def reporter(ledger: RefusalLedger) -> RefusalReporter:
    return RefusalReporter(ledger, EagerClock(), create_metrics())


def test_calls_alike_are_one_record(ledger: RefusalLedger) -> None:
    """With their number, the first and the last moment, also when the clock steps back."""
    for moment_ms in (START_MS + 5, START_MS, START_MS + 9):
        ledger.note(ADDRESS, "webhook_disabled", 403, USER, moment_ms)
    (calls,) = ledger.take()
    assert (calls.client_address, calls.reason, calls.status, calls.user_id) == (
        ADDRESS,
        "webhook_disabled",
        403,
        USER,
    )
    assert (calls.count, calls.first_at) == (3, utc_from_ms(START_MS))
    assert calls.last_at - calls.first_at == timedelta(milliseconds=9)
    assert unix_ms_of(calls.id) == START_MS + 9
    assert calls.id.version == 7


def test_address_reason_status_and_tenant_tell_calls_apart(ledger: RefusalLedger) -> None:
    """Each of the four makes a record of its own."""
    for address, reason, status, user_id in [
        (ADDRESS, "a", 403, USER),
        ("203.0.113.8", "a", 403, USER),
        (ADDRESS, "b", 403, USER),
        (ADDRESS, "a", 429, USER),
        (ADDRESS, "a", 403, None),
    ]:
        ledger.note(address, reason, status, user_id, START_MS)
    taken = list(ledger.take())
    assert len(taken) == len({calls.id for calls in taken}) == 5
    assert {calls.count for calls in taken} == {1}


def test_taking_empties_the_ledger() -> None:
    """Counts, and the room that strangers took."""
    ledger = RefusalLedger(capacity=5)
    strange(ledger, range(1))
    assert len(list(ledger.take())) == 1
    assert (list(ledger.take()), len(ledger)) == ([], 0)
    strange(ledger, range(7, 8))
    assert counts(ledger.take()) == [("198.51.100.7", 1)]


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("2001:db8::1", "2001:db8::1"),
        ("9" * 5000, "9" * ADDRESS_CHARS),
        ("", "unknown"),
        ("\x00\n", "unknown"),
        ("\udcff", "unknown"),
    ],
)
def test_an_address_is_short_plain_text(ledger: RefusalLedger, address: str, kept: str) -> None:
    """Whatever a proxy passed on, the record can be encoded, stored and shown."""
    noted(ledger, address=address)
    (calls,) = ledger.take()
    assert calls.client_address == kept
    assert published([refused_message(calls)]) == [calls]


def test_strangers_without_room_are_counted_together() -> None:
    """Under `other`, by reason and status; those who are known already go on being counted apart."""
    ledger = RefusalLedger(capacity=10)
    strange(ledger, range(5))
    ledger.note("192.0.2.1", "body_too_large", 413, None, START_MS)
    strange(ledger, range(2))
    expected = [("198.51.100.0", 2), ("198.51.100.1", 2), ("other", 3), ("other", 1)]
    assert counts(ledger.take()) == expected


def test_strangers_leave_room_for_tenants() -> None:
    """A flood of made-up tokens does not hide which tenant's calls were refused."""
    ledger = RefusalLedger(capacity=10)
    strange(ledger, range(200))
    for number in range(9):
        ledger.note(ADDRESS, "too_many", 429, UUID(int=number), START_MS)
    of_tenants = [calls for calls in ledger.take() if calls.reason == "too_many"]
    known = [calls for calls in of_tenants if calls.user_id is not None]
    assert len(known) == 7
    assert counts(of_tenants[7:]) == [("other", 2)]


def test_a_flood_from_random_addresses_takes_little_memory_and_loses_no_count() -> None:
    """200,000 calls, each from an address of its own."""
    ledger = RefusalLedger()
    source = random.Random(1)
    reasons = {"not_found": 404, "body_too_large": 413}
    expected: Counter[str] = Counter()
    tracemalloc.start()
    try:
        for number in range(200_000):
            reason = ("not_found", "body_too_large")[number % 3 == 0]
            user_id = USER if number % 50 == 0 else None
            ledger.note(f"2001:db8::{source.getrandbits(60):x}", reason, reasons[reason], user_id, START_MS)
            expected[reason] += 1
        used_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(ledger) <= 10_000 + len(reasons)
    assert used_bytes < 8_000_000
    told: Counter[str] = Counter()
    for calls in ledger.take():
        told[calls.reason] += calls.count
    assert told == expected


def test_a_record_says_what_it_is_and_is_the_same_each_time(ledger: RefusalLedger) -> None:
    """On its topic, keyed by address, with the envelope of every topic."""
    noted(ledger)
    (calls,) = ledger.take()
    message = refused_message(calls)
    assert (message.topic, message.key) == (WEBHOOKS_REFUSED.name, ADDRESS.encode())
    headers = dict(message.headers)
    assert (headers["ce_id"], headers["ce_type"]) == (str(calls.id).encode(), b"alerts.webhook.refused")
    assert (headers["ce_source"], headers["ce_time"]) == (b"/alerts/ingest", b"2026-03-14T09:26:53.125Z")
    assert headers["traceparent"].startswith(f"00-{calls.id.hex}-".encode())
    assert refused_message(calls) == message


def test_what_is_noted_after_taking_is_not_among_what_was_taken(ledger: RefusalLedger) -> None:
    """Although the records are made later."""
    noted(ledger, 2)
    taken = ledger.take()
    noted(ledger, 3)
    assert counts(taken) == [(ADDRESS, 2)]
    assert counts(ledger.take()) == [(ADDRESS, 3)]


async def test_everything_is_published_in_small_batches(
    ledger: RefusalLedger, reporter: RefusalReporter
) -> None:
    """The event loop belongs to the webhooks."""
    for number in range(2 * BATCH + 1):
        noted(ledger, address=f"a{number}")
    publisher = MemoryPublisher()
    await reporter.flush(publisher)
    assert (publisher.calls, len(publisher.messages)) == (3, 2 * BATCH + 1)
    await reporter.flush(publisher)
    assert publisher.calls == 3


async def test_what_was_not_acked_is_published_again_under_its_own_id(
    ledger: RefusalLedger, reporter: RefusalReporter
) -> None:
    """The broker may have it already; what came meanwhile is a record of its own, and no call is missing."""
    hanging = HangingPublisher()
    noted(ledger, 3)
    first = asyncio.create_task(reporter.flush(hanging))
    await hanging.asked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    noted(ledger, 4)
    publisher = MemoryPublisher()
    await reporter.flush(publisher)
    again, new = publisher.messages
    assert again == hanging.messages[0]
    assert [calls.count for calls in published([again, new])] == [3, 4]
    assert published([again])[0].id != published([new])[0].id


async def test_batches_that_were_acked_are_not_published_again(
    ledger: RefusalLedger, reporter: RefusalReporter
) -> None:
    """A failure in the middle costs one batch only."""
    for number in range(3 * BATCH):
        noted(ledger, address=f"a{number}")
    breaking = BreakingPublisher()
    with pytest.raises(TransientError):
        await reporter.flush(breaking)
    publisher = MemoryPublisher()
    await reporter.flush(publisher)
    assert (len(breaking.messages), len(publisher.messages)) == (BATCH, 2 * BATCH)
    assert len({message.key for message in breaking.messages + publisher.messages}) == 3 * BATCH


@pytest.mark.parametrize("failure", [TransientError("away"), TimeoutError(), ZeroDivisionError()])
async def test_no_failure_ends_the_reporter(ledger: RefusalLedger, failure: Exception) -> None:
    """It waits for the next interval and tries again."""
    clock = EagerClock()
    publisher = EndingPublisher(3, failure, failure)
    noted(ledger)
    with pytest.raises(asyncio.CancelledError):
        await RefusalReporter(ledger, clock, create_metrics()).run(publisher, interval_s=7)
    assert counts(published(publisher.messages)) == [(ADDRESS, 1)]
    assert clock.sleeps_s == [7, 7, 7]


async def test_a_publisher_beyond_repair_is_given_back(
    ledger: RefusalLedger, reporter: RefusalReporter
) -> None:
    """The next one publishes what this one could not."""
    noted(ledger)
    await reporter.run(MemoryPublisher(kafka.ProducerFenced()))
    publisher = MemoryPublisher()
    await reporter.flush(publisher)
    assert counts(published(publisher.messages)) == [(ADDRESS, 1)]


async def test_what_is_there_at_the_end_is_published(ledger: RefusalLedger) -> None:
    """A graceful stop loses nothing while Kafka answers."""
    clock = FakeClock()
    reporter = RefusalReporter(ledger, clock, create_metrics())
    publisher = MemoryPublisher()
    running = asyncio.create_task(reporter.run(publisher))
    await clock.until_sleeping()
    noted(ledger, 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert counts(published(publisher.messages)) == [(ADDRESS, 2)]
    assert reporter.abandon() == 0


async def test_the_end_does_not_wait_for_a_broker_without_limit(
    ledger: RefusalLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is lost then is known by number."""
    monkeypatch.setattr("ingest.refusals.LAST_FLUSH_DEADLINE_S", 0.01)
    reporter = RefusalReporter(ledger, EagerClock(), create_metrics())
    publisher = HangingPublisher()
    noted(ledger, 2)
    running = asyncio.create_task(reporter.run(publisher))
    await publisher.asked.wait()
    noted(ledger, 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (reporter.abandon(), reporter.abandon()) == (5, 0)


async def test_what_was_told_is_counted_by_reason(ledger: RefusalLedger) -> None:
    """Once it is acked."""
    metrics = create_metrics()
    reporter = RefusalReporter(ledger, EagerClock(), metrics)
    noted(ledger, 3)
    with pytest.raises(TransientError):
        await reporter.flush(MemoryPublisher(TransientError("away")))
    assert metrics.registry.get_sample_value("alerts_refused_calls_total", {"reason": "not_found"}) is None
    await reporter.flush(MemoryPublisher())
    assert metrics.registry.get_sample_value("alerts_refused_calls_total", {"reason": "not_found"}) == 3
