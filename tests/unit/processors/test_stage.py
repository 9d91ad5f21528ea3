"""The processors' work: which records become signals, which wait, and what is published with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec
import pytest

from processors.stage import ProcessorStage
from runtime.directory import TenantDirectory
from runtime.errors import InvalidError, TransientError
from runtime.ids import lowest_id_at, received_at_of
from runtime.metrics import create_metrics
from runtime.publisher import Message
from runtime.streams.record import StreamRecord, TopicPartition
from schemas.codec import decode
from schemas.headers import WebhookMetadata, read_webhook_metadata, webhook_headers
from schemas.plans import Plan
from schemas.records import Lane, Signal
from tests.support.clock import START_MS, FakeClock
from tests.support.tenants import Customer, new_customer
from tests.support.webhooks import shipped_book

ALERT = b'{"ticker": "BINANCE:ETHUSDT", "price": "3456.7", "action": "buy"}'
SIGNAL_ID = lowest_id_at(START_MS - 1000)


@dataclass
class MemoryPublisher:
    """Keeps messages, or fails once."""

    messages: list[Message] = field(default_factory=list)
    error: Exception | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        if (error := self.error) is not None:
            self.error = None
            raise error
        self.messages += messages


@dataclass(frozen=True)
class Bench:
    stage: ProcessorStage
    publisher: MemoryPublisher
    customer: Customer

    def counted(self, status: str) -> float | None:
        registry = self.stage.metrics.registry
        return registry.get_sample_value("alerts_signals_parsed_total", {"parse_status": status})

    @property
    def signals(self) -> list[Signal]:
        return [decode(message.value, Signal) for message in self.publisher.messages]


@pytest.fixture
def bench() -> Bench:
    customer, publisher, directory = new_customer(Plan.PRO), MemoryPublisher(), TenantDirectory()
    directory.apply(customer.tenant)
    stage = ProcessorStage(directory, shipped_book(), publisher, create_metrics(), FakeClock())
    return Bench(stage, publisher, customer)


def webhook(
    customer: Customer, body: bytes = ALERT, signal_id: UUID = SIGNAL_ID, revision: int | None = None
) -> StreamRecord:
    """The record the ingress makes of an alert, of the tenant's own revision unless given."""
    metadata = WebhookMetadata(
        signal_id=signal_id,
        received_at=received_at_of(signal_id),
        client_address="192.0.2.7",
        user_agent="agent",
        content_type="text/plain",
        query="chart=Zz9Yy8Xx",
        tenant_revision=customer.tenant.revision if revision is None else revision,
        body_bytes=len(body),
    )
    headers = tuple(webhook_headers(metadata))
    return StreamRecord(TopicPartition("webhooks.raw", 1), 5, 1, START_MS, customer.key, body, headers)


async def test_an_alert_becomes_a_signal_of_its_tenant(bench: Bench) -> None:
    """Identity comes from the ingress, plan and defaults from the directory, the rest from the text."""
    await bench.stage.work([webhook(bench.customer)])
    (signal,) = bench.signals
    assert (signal.signal_id, signal.received_at) == (SIGNAL_ID, received_at_of(SIGNAL_ID))
    assert (signal.user_id, signal.plan) == (bench.customer.tenant.user_id, Plan.PRO)
    assert (signal.ticker, str(signal.price), signal.chart_id) == ("BINANCE:ETHUSDT", "3456.7", "Zz9Yy8Xx")
    assert bench.counted("parsed") == 1


async def test_what_audit_needs_travels_on(bench: Bench) -> None:
    """The webhook's headers are copied beside the signal's own envelope."""
    record = webhook(bench.customer)
    await bench.stage.work([record])
    (message,) = bench.publisher.messages
    headers = dict(message.headers)
    assert (message.topic, message.key) == ("signals", bench.customer.key)
    assert read_webhook_metadata(message.headers) == read_webhook_metadata(record.headers)
    assert (headers["ce_type"], headers["ce_source"]) == (b"alerts.signal", b"/alerts/processors")
    assert (headers["ce_id"], headers["ce_time"]) == (str(SIGNAL_ID).encode(), b"2026-03-14T09:26:53.125Z")
    assert headers["traceparent"].startswith(f"00-{SIGNAL_ID.hex}-".encode())


@pytest.mark.parametrize(
    ("lane", "topic"),
    [(Lane.MAIN, "signals"), (Lane.OVERFLOW, "signals"), (Lane.REPLAY, "signals.replay")],
)
async def test_a_signal_says_its_lane(bench: Bench, lane: Lane, topic: str) -> None:
    """And goes to its lane's topic; all else is the same in every lane."""
    await bench.stage.work([webhook(bench.customer)])
    await replace(bench.stage, lane=lane).work([webhook(bench.customer)])
    plain, signal = bench.signals
    assert signal == msgspec.structs.replace(plain, lane=lane)
    assert bench.publisher.messages[1].topic == topic


async def test_a_batch_keeps_its_order(bench: Bench) -> None:
    """Signals of one user are published in the order of their webhooks, understood or not."""
    ids = [lowest_id_at(START_MS + number) for number in range(4)]
    bodies = [ALERT, b"", b"\xff\x00", b"hello"]
    records = [webhook(bench.customer, body, one) for one, body in zip(ids, bodies, strict=True)]
    await bench.stage.work(records)
    assert [signal.signal_id for signal in bench.signals] == ids
    assert (bench.counted("parsed"), bench.counted("unparsed")) == (1, 3)


async def test_a_record_waits_for_the_directory_and_nothing_of_its_batch_is_published(bench: Bench) -> None:
    """A tenant not yet known, or known in an older revision than the ingress saw, is on its way."""
    for late in (webhook(new_customer()), webhook(bench.customer, revision=2)):
        with pytest.raises(TransientError):
            await bench.stage.work([webhook(bench.customer), late])
    assert bench.publisher.messages == []
    bench.stage.directory.apply(bench.customer.with_changes(plan=Plan.FREE).tenant)
    await bench.stage.work([webhook(bench.customer, revision=2), webhook(bench.customer, revision=1)])
    assert [signal.plan for signal in bench.signals] == [Plan.FREE, Plan.FREE]


async def test_a_deleted_tenants_record_is_counted_and_dropped(bench: Bench) -> None:
    """Its neighbours are published; a batch of nothing else publishes nothing."""
    gone = new_customer(deleted=True)
    bench.stage.directory.apply(gone.tenant)
    await bench.stage.work([webhook(gone), webhook(bench.customer)])
    await bench.stage.work([webhook(gone)])
    assert [message.key for message in bench.publisher.messages] == [bench.customer.key]
    assert bench.counted("tenant_deleted") == 2


async def test_a_batch_that_is_tried_again_is_counted_once(bench: Bench) -> None:
    """The figures are of what was published, not of how often it was tried."""
    bench.publisher.error = TransientError("away")
    with pytest.raises(TransientError):
        await bench.stage.work([webhook(bench.customer)])
    await bench.stage.work([webhook(bench.customer)])
    assert bench.counted("parsed") == 1


@pytest.mark.parametrize("key", [None, b"", b"not a uuid", b"\xff"])
async def test_a_record_without_a_tenant_in_its_key_is_invalid(bench: Bench, key: bytes | None) -> None:
    """No directory will ever know it."""
    good = webhook(bench.customer)
    bad = StreamRecord(good.source, 6, 1, START_MS, key, good.value, good.headers)
    with pytest.raises(InvalidError) as caught:
        await bench.stage.work([good, bad])
    assert (caught.value.reason, bench.publisher.messages) == ("bad_key", [])


@pytest.mark.parametrize("missing", ["signal_id", "received_at", "tenant_revision", "query", "body_bytes"])
async def test_a_record_without_the_ingresss_headers_is_invalid(bench: Bench, missing: str) -> None:
    """Whoever else writes to the topic gets a dead letter that names what is missing."""
    good = webhook(bench.customer)
    headers = tuple((name, value) for name, value in good.headers if name != missing)
    bad = StreamRecord(good.source, 6, 1, START_MS, good.key, good.value, headers)
    with pytest.raises(InvalidError, match=missing) as caught:
        await bench.stage.work([good, bad])
    assert (caught.value.reason, bench.publisher.messages) == ("bad_headers", [])


async def test_the_same_record_gives_the_same_signal(bench: Bench) -> None:
    """A record delivered twice is one signal under one id, byte for byte."""
    await bench.stage.work([webhook(bench.customer)])
    await bench.stage.work([webhook(bench.customer)])
    first, second = bench.publisher.messages
    assert first.value == second.value
