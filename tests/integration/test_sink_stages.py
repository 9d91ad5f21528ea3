"""The sink's stages on a real database and a real broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from runtime.clock import SystemClock, utc_now
from runtime.errors import Failure, InvalidError, classify
from runtime.ids import lowest_id_at
from runtime.metrics import create_metrics
from runtime.postgres import Pool, open_pool
from runtime.publisher import Publisher, open_publisher
from runtime.settings import PostgresSettings
from runtime.streams.record import StreamRecord
from schemas.codec import decode
from schemas.plans import Plan
from schemas.records import CaptureEventKind, CaptureRequest, ExactDecimal, Picture, Signal, StoredSignal
from schemas.topics import CAPTURES, SIGNALS_STORED
from sinks.capture_store import CaptureStore
from sinks.stages import CaptureEventStage, SignalStage
from sinks.store import SignalStore
from tests.support.signals import accepted_signal, new_event, new_signal, plain_record, signal_record
from tests.support.tenants import Customer, create_local_topics, insert_tenant, kafka_settings, new_customer
from tests.support.topiclog import TopicLog, open_topic_log

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = utc_now(SystemClock())


@dataclass(frozen=True)
class Bench:
    """A database with one consenting tenant, the real topics, and both stages."""

    pool: Pool
    customer: Customer
    signals: SignalStage
    events: CaptureEventStage
    requests: TopicLog
    announcements: TopicLog

    async def count(self, table: str) -> int:
        rows: int = await self.pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a literal
        return rows

    async def row(self, signal: Signal) -> Any:
        return await self.pool.fetchrow("SELECT * FROM signals WHERE id = $1", signal.signal_id)

    async def requested(self) -> list[CaptureRequest]:
        return [decode(record.value, CaptureRequest) for record in await self.requests.of(self.customer.key)]

    async def announced(self) -> list[StoredSignal]:
        return [
            decode(record.value, StoredSignal) for record in await self.announcements.of(self.customer.key)
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    await create_local_topics(kafka_bootstrap)
    async with open_publisher(kafka_settings(kafka_bootstrap), "test-sink") as publisher:
        yield publisher


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def topics(kafka_bootstrap: str, publisher: Publisher) -> AsyncIterator[tuple[TopicLog, TopicLog]]:  # noqa: ARG001 - makes the topics
    async with (
        open_topic_log(kafka_bootstrap, CAPTURES[Plan.PREMIUM].name) as requests,
        open_topic_log(kafka_bootstrap, SIGNALS_STORED.name) as announcements,
    ):
        yield requests, announcements


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": postgres_url}), "test") as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def bench(pool: Pool, publisher: Publisher, topics: tuple[TopicLog, TopicLog]) -> Bench:
    await pool.execute("TRUNCATE users, signals, audit_logs, signal_screenshots CASCADE")
    customer = new_customer()
    await insert_tenant(pool, customer)
    stage = SignalStage(SignalStore(pool), publisher, create_metrics(), SystemClock())
    return Bench(pool, customer, stage, CaptureEventStage(CaptureStore(pool)), *topics)


def in_month(customer: Customer, months_ago: int, day: int = 15) -> Signal:
    """Recent enough to be kept, while that is less than two years."""
    moment_ms = int(month_of(months_ago).replace(day=day).timestamp() * 1000)
    return new_signal(
        customer, signal_id=UUID(int=lowest_id_at(moment_ms).int | customer.tenant.user_id.int & 0xFFFFFF)
    )


def month_of(months_ago: int) -> datetime:
    """Its first moment."""
    years, month = divmod(NOW.year * 12 + NOW.month - 1 - months_ago, 12)
    return datetime(years, month + 1, 1, tzinfo=UTC)


def partition_of_month(months_ago: int) -> str:
    return f"signals_{month_of(months_ago):%Y_%m}"


def records_of(signals: Sequence[Signal]) -> list[StreamRecord]:
    return [signal_record(signal) for signal in signals]


async def test_a_signal_is_stored_asked_for_and_announced(bench: Bench) -> None:
    """The row, its audit row, one request and one announcement that agree with it."""
    signal = new_signal(bench.customer)
    await bench.signals.work(records_of([signal]))
    row = await bench.row(signal)
    (request,), (stored,) = await bench.requested(), await bench.announced()
    assert (row["screenshot_status"], row["disposition"]) == ("pending", "stored")
    assert row["capture_requested_at"] is not None
    assert (request.signal_id, request.capture_by) == (signal.signal_id, row["capture_by"])
    assert (request.capture_by - signal.received_at).total_seconds() == 15 * 60
    assert (stored.signal_id, stored.sequence) == (signal.signal_id, row["sequence"])
    audit = await bench.pool.fetchrow("SELECT * FROM audit_logs")
    assert audit is not None
    assert (audit["id"], audit["client_address"], audit["outcome"]) == (
        signal.signal_id,
        "127.0.0.1",
        "accepted",
    )


async def test_a_batch_that_comes_again_adds_no_row(bench: Bench) -> None:
    """At least once on the topics, exactly one row in the store, whatever else is in the batch."""
    signals = [new_signal(bench.customer) for _ in range(3)]
    await bench.signals.work(records_of(signals[:2]))
    await bench.signals.work(records_of([*signals, signals[0]]))
    assert (await bench.count("signals"), await bench.count("audit_logs")) == (3, 3)
    assert {request.signal_id for request in await bench.requested()} == {s.signal_id for s in signals}


async def test_a_row_that_has_its_picture_is_not_asked_for_again(bench: Bench) -> None:
    """A record delivered again after its capture leaves the outcome alone."""
    signal = new_signal(bench.customer)
    await bench.signals.work(records_of([signal]))
    picture = Picture(
        key=f"{signal.signal_id}.png", size_bytes=1, width_px=1, height_px=1, captured_at=signal.received_at
    )
    completed = new_event(signal, CaptureEventKind.COMPLETED, picture=picture)
    await bench.events.work([plain_record(completed)])
    await bench.signals.work(records_of([signal]))
    assert len(await bench.requested()) == 1
    assert (await bench.row(signal))["screenshot_status"] == "completed"


async def test_a_parked_row_is_announced_as_parked_and_not_captured(bench: Bench) -> None:
    """What is above the quota waits for its release."""
    signal = new_signal(bench.customer)
    await bench.signals.store.insert([accepted_signal(signal)], NOW)
    await bench.pool.execute("UPDATE signals SET disposition = 'parked'")
    await bench.signals.work(records_of([signal]))
    assert await bench.requested() == []
    assert [stored.disposition for stored in await bench.announced()] == ["parked"]
    assert (await bench.row(signal))["capture_requested_at"] is None


async def test_a_flagged_account_stops_the_tenants_captures(bench: Bench) -> None:
    """The tenant's kill switch is thrown once, and its next revision tells the ingress."""
    signal = new_signal(bench.customer)
    await bench.signals.work(records_of([signal]))
    flagged = new_event(signal, CaptureEventKind.ACCOUNT_FLAGGED, reason="account_flagged")
    await bench.events.work([plain_record(flagged)] * 2)
    row = await bench.row(signal)
    assert (row["screenshot_status"], row["screenshot_reason"]) == ("skipped", "account_flagged")
    assert await bench.pool.fetchval("SELECT captures_stopped FROM user_config")
    assert await bench.pool.fetchval("SELECT revision FROM users") == 2
    later = new_signal(bench.customer)
    await bench.signals.work(records_of([later]))
    assert (await bench.row(later))["screenshot_reason"] == "captures_stopped"


async def test_a_flag_from_before_captures_were_switched_on_again_stops_nothing(bench: Bench) -> None:
    """The whole topic run through again must not undo what an operator did since."""
    signal = new_signal(bench.customer)
    await bench.signals.work(records_of([signal]))
    await bench.pool.execute("UPDATE user_config SET captures_allowed_at = now() + interval '1 minute'")
    flagged = new_event(signal, CaptureEventKind.ACCOUNT_FLAGGED, reason="account_flagged")
    await bench.events.work([plain_record(flagged)])
    assert not await bench.pool.fetchval("SELECT captures_stopped FROM user_config")
    assert await bench.pool.fetchval("SELECT revision FROM users") == 1


@pytest.mark.parametrize(
    "changes",
    [{"price": ExactDecimal("1e140000")}, {"message": "a\x00b"}, {"fields": {"a\x00": "b"}}],
    ids=["number", "text", "key"],
)
async def test_a_row_that_cannot_be_stored_is_invalid_and_takes_nothing_with_it(
    bench: Bench, changes: dict[str, object]
) -> None:
    """The whole batch is undone, and the error says that trying again is of no use."""
    good, bad = new_signal(bench.customer), new_signal(bench.customer, **changes)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class is what is asserted
        await bench.signals.work(records_of([good, bad]))
    assert classify(caught.value) is Failure.INVALID
    assert (await bench.count("signals"), await bench.count("audit_logs")) == (0, 0)
    assert (await bench.requested(), await bench.announced()) == ([], [])
    await bench.signals.work(records_of([good]))
    assert await bench.count("signals") == 1


async def test_a_signal_whose_audit_row_cannot_be_stored_is_not_stored(bench: Bench) -> None:
    """Row and audit row are one transaction: neither is ever there alone."""
    good = signal_record(new_signal(bench.customer))
    headers = tuple((name, b"a\x00" if name == "user_agent" else value) for name, value in good.headers)
    bad = StreamRecord(good.source, 1, 1, 0, good.key, good.value, headers)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class is what is asserted
        await bench.signals.work([bad])
    assert classify(caught.value) is Failure.INVALID
    assert (await bench.count("signals"), await bench.count("audit_logs")) == (0, 0)


async def test_an_event_that_cannot_be_applied_is_invalid_and_takes_nothing_with_it(bench: Bench) -> None:
    """Here a picture of a tenant nobody knows."""
    signal = new_signal(bench.customer)
    await bench.signals.work(records_of([signal]))
    stranger = new_signal(new_customer())
    picture = Picture(key="k", size_bytes=1, width_px=1, height_px=1, captured_at=signal.received_at)
    events = [
        new_event(signal, CaptureEventKind.STARTED),
        new_event(stranger, CaptureEventKind.COMPLETED, picture=picture),
    ]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class is what is asserted
        await bench.events.work([plain_record(event) for event in events])
    assert classify(caught.value) is Failure.INVALID
    assert (await bench.row(signal))["screenshot_status"] == "pending"


async def test_an_unreadable_record_leaves_its_batch_undone(bench: Bench) -> None:
    """Before anything is written."""
    good = signal_record(new_signal(bench.customer))
    bad = StreamRecord(good.source, 1, 1, 0, good.key, b"{}", good.headers)
    with pytest.raises(InvalidError):
        await bench.signals.work([good, bad])
    assert await bench.count("signals") == 0


async def test_months_get_their_partitions_when_a_row_needs_them(bench: Bench) -> None:
    """A batch over several months, old ones included, is stored, each row in its month's partition."""
    signals = [in_month(bench.customer, months_ago) for months_ago in (10, 11, 2)]
    await bench.signals.work(records_of(signals))
    places = await bench.pool.fetch("SELECT tableoid::regclass::text AS place FROM signals ORDER BY id")
    assert [row["place"] for row in places] == [partition_of_month(months_ago) for months_ago in (11, 10, 2)]


@pytest.mark.parametrize("day", [1, 31])
async def test_the_edges_of_a_month_are_inside(bench: Bench, day: int) -> None:
    """The first millisecond of the first day and the last day both have their place."""
    long_month = next(months_ago for months_ago in range(1, 13) if month_of(months_ago).month == 3)
    signal = in_month(bench.customer, long_month, day)
    await bench.signals.work(records_of([signal]))
    place = await bench.pool.fetchval("SELECT tableoid::regclass::text FROM signals")
    assert place == partition_of_month(long_month)


async def test_two_sinks_may_need_new_months_at_once(bench: Bench) -> None:
    """Overlapping sets of new months, again and again: nobody fails and nobody waits for ever."""
    for latest in (0, 11):
        batches = [
            [in_month(bench.customer, latest + months_ago) for months_ago in months]
            for months in ((1, 3, 5, 7), (3, 5, 8), (5, 1, 10), (7, 8, 1))
        ]
        stores = [SignalStore(bench.pool) for _ in batches]
        given = [[accepted_signal(signal) for signal in batch] for batch in batches]
        await asyncio.gather(*(store.insert(items, NOW) for store, items in zip(stores, given, strict=True)))
    assert await bench.count("signals") == 2 * 6
