"""Refused calls on a real broker and a real database: from the ledger to rows of the audit."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson
import pytest
import pytest_asyncio

from ingest.refusals import INTERVAL_S, RefusalLedger, RefusalReporter, open_refusals, refused_message
from runtime.clock import SystemClock, utc_from_ms, utc_now
from runtime.errors import Failure, classify
from runtime.ids import uuid7
from runtime.metrics import create_metrics
from runtime.postgres import Pool, open_pool
from runtime.process import ProcessContext
from runtime.publisher import Publisher, open_publisher
from runtime.settings import LoggingSettings, OperationsSettings, PostgresSettings
from schemas.records import RefusedCalls
from schemas.topics import DEADLETTERS, WEBHOOKS_REFUSED
from sinks.command import serve_sink
from sinks.refusals import RefusalStage, RefusalStore
from sinks.settings import SinkSettings
from sinks.store import SignalStore
from tests.support.broker import produce, read_all
from tests.support.clock import FakeClock
from tests.support.outage import FrailBroker, frail_broker
from tests.support.signals import accepted_signal, new_signal, plain_record
from tests.support.tenants import (
    create_local_topics,
    insert_tenant,
    kafka_settings,
    new_customer,
    new_user_id,
)
from tests.support.topiclog import open_topic_log
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
NOW = utc_now(CLOCK)

# partitions are made for what is still kept
BASE_MS = CLOCK.unix_ms() - 120 * 86_400_000


@dataclass(frozen=True)
class Bench:
    """The sink's database and the broker in front of it. Each test refuses calls of an address of its own."""

    pool: Pool
    broker: FrailBroker
    sink: SinkSettings
    address: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")

    @asynccontextmanager
    async def sinking(self) -> AsyncIterator[None]:
        """The sink role until the block is left."""
        context = ProcessContext()
        async with serve_sink(self.sink, context):
            yield
        assert not context.failed.done()

    async def rows(self) -> list[Any]:
        query = "SELECT * FROM audit_logs WHERE client_address = $1 ORDER BY id"
        return list(await self.pool.fetch(query, self.address))

    async def until_counted(self, calls: int) -> list[Any]:
        """The rows, once they account for so many calls or more."""

        async def enough() -> list[Any] | None:
            rows = await self.rows()
            return rows if sum(row["count"] for row in rows) >= calls else None

        return await eventually(enough)

    def note(self, ledger: RefusalLedger, calls: int, reason: str = "not_found") -> None:
        for _ in range(calls):
            ledger.note(self.address, reason, 404, None, CLOCK.unix_ms())


@pytest.fixture(scope="module")
def broker() -> Iterator[FrailBroker]:
    with frail_broker() as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": postgres_url}), "test") as pool:
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def publisher(broker: FrailBroker) -> AsyncIterator[Publisher]:
    await create_local_topics(broker.bootstrap)
    async with open_publisher(kafka_settings(broker.bootstrap), "test-refusals") as publisher:
        yield publisher


@pytest.fixture
def bench(pool: Pool, publisher: Publisher, broker: FrailBroker, postgres_url: str) -> Bench:  # noqa: ARG001 - makes the topics
    sink = SinkSettings(
        kafka_settings(broker.bootstrap),
        PostgresSettings.model_validate({"url": postgres_url}),
        OperationsSettings.model_validate({}),
        LoggingSettings.model_validate({}),
    )
    return Bench(pool, broker, sink)


def refused(**changes: object) -> RefusedCalls:
    values = {
        "id": uuid7(BASE_MS, secrets.randbits(12), secrets.randbits(62)),
        "client_address": "203.0.113.7",
        "reason": "not_found",
        "status": 404,
        "count": 3,
        "first_at": utc_from_ms(BASE_MS - 1000),
        "last_at": utc_from_ms(BASE_MS),
        **changes,
    }
    return RefusedCalls(**values)  # type: ignore[arg-type]  # from a table of overrides


def at(moment: datetime) -> dict[str, object]:
    unix_ms = int(moment.timestamp() * 1000)
    return {"id": uuid7(unix_ms, 0, secrets.randbits(62)), "first_at": moment, "last_at": moment}


def months_ago(count: int) -> datetime:
    """The beginning of an earlier month: rows of then are still kept."""
    now = utc_from_ms(SystemClock().unix_ms())
    months = now.year * 12 + now.month - 1 - count
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


async def test_noted_calls_become_rows_with_their_counts(bench: Bench, publisher: Publisher) -> None:
    """All the way: one row for calls alike, its reason as outcome, the moments of the first and the last."""
    ledger = RefusalLedger()
    user_id = new_user_id()
    for moment_ms in (BASE_MS, BASE_MS + 1500):
        ledger.note(bench.address, "webhook_disabled", 403, user_id, moment_ms)
    bench.note(ledger, 5)
    await RefusalReporter(ledger, CLOCK, create_metrics()).flush(publisher)
    async with bench.sinking():
        disabled, unknown = await bench.until_counted(7)
    told = [disabled[name] for name in ("outcome", "status", "count", "user_id", "first_at", "received_at")]
    assert told == [
        "webhook_disabled",
        403,
        2,
        user_id,
        utc_from_ms(BASE_MS),
        utc_from_ms(BASE_MS + 1500),
    ]
    assert (unknown["outcome"], unknown["count"], unknown["user_id"]) == ("not_found", 5, None)
    assert {unknown[name] for name in ("user_agent", "content_type", "body_bytes", "lane")} == {None}


async def test_records_that_come_again_change_nothing(bench: Bench, publisher: Publisher) -> None:
    """On the topic twice, in one batch and across a restart of the sink."""
    calls = [refused(client_address=bench.address, count=number) for number in (1, 2)]
    messages = [refused_message(each) for each in calls]
    await publisher.publish([*messages, messages[0]])
    async with bench.sinking():
        before = await bench.until_counted(3)
    last = refused(client_address=bench.address, count=4, **at(utc_from_ms(BASE_MS + 3_600_000)))
    await publisher.publish([*messages, refused_message(last)])
    async with bench.sinking():
        after = await bench.until_counted(7)
    assert after[:-1] == before
    assert [row["count"] for row in sorted(after, key=lambda row: row["count"])] == [1, 2, 4]
    letters = await read_all(bench.broker.bootstrap, DEADLETTERS.name)
    assert bench.address.encode() not in {letter.key for letter in letters}


async def test_what_can_never_be_a_row_is_a_dead_letter(bench: Bench, publisher: Publisher) -> None:
    """Unreadable, or against a rule of the table; its neighbours become rows."""
    bad = [
        b"{",
        refused_message(refused(reason="accepted")).value,
        refused_message(refused(count=0)).value,
        refused_message(refused(status=99_999)).value,
        refused_message(refused(first_at=utc_from_ms(BASE_MS + 1))).value,
    ]
    good = refused(client_address=bench.address)
    await produce(bench.broker.bootstrap, WEBHOOKS_REFUSED.name, bad)
    await publisher.publish([refused_message(good)])
    async with bench.sinking():
        await bench.until_counted(good.count)

        async def buried() -> bool:
            letters = await read_all(bench.broker.bootstrap, DEADLETTERS.name)
            return {letter.value for letter in letters} >= set(bad)

        await eventually(buried)
    letters = [
        dict(letter.headers)
        for letter in await read_all(bench.broker.bootstrap, DEADLETTERS.name)
        if letter.value in bad
    ]
    assert {headers["dl_stage"] for headers in letters} == {b"sink-refusals"}
    assert {headers["dl_reason"] for headers in letters} == {
        b"bad_record",
        b"sqlstate_23514",
        b"sqlstate_22003",
    }


async def test_an_outage_of_the_broker_costs_no_count(
    bench: Bench, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was handed over is handed over again under its id; what came meanwhile comes after it."""
    monkeypatch.setattr("runtime.publisher.PUBLISH_DEADLINE_S", 0.3)
    ledger = RefusalLedger()
    reporter = RefusalReporter(ledger, CLOCK, create_metrics())
    with bench.broker.frozen():
        for _ in range(3):
            bench.note(ledger, 10)
            with pytest.raises(TimeoutError):
                await reporter.flush(publisher)
    bench.note(ledger, 5)
    monkeypatch.undo()
    await reporter.flush(publisher)
    async with bench.sinking():
        rows = await bench.until_counted(35)
    assert [row["count"] for row in rows] == [10, 25]
    async with open_topic_log(bench.broker.bootstrap, WEBHOOKS_REFUSED.name) as topic:
        copies = await topic.of(bench.address.encode())
    assert len(copies) > len(rows)


async def test_a_ledger_is_published_until_its_block_is_left(bench: Bench) -> None:
    """What was noted before a broker answered, at an interval; the rest at the end."""
    bench.broker.kill()
    clock = FakeClock(BASE_MS)
    context = ProcessContext(clock=clock)
    async with open_refusals(kafka_settings(bench.broker.bootstrap), context) as ledger:
        bench.note(ledger, 3)
        bench.broker.start()
        await clock.until_sleeping()
        await clock.advance(INTERVAL_S)
        async with bench.sinking():
            await bench.until_counted(3)
        bench.note(ledger, 4)
    async with bench.sinking():
        rows = await bench.until_counted(7)
    assert [row["count"] for row in rows] == [3, 4]
    assert not context.failed.done()


async def test_without_a_broker_leaving_ends_and_costs_only_counts(bench: Bench) -> None:
    """Refused calls never keep the ingress from stopping."""
    context = ProcessContext()
    async with open_refusals(kafka_settings("127.0.0.1:1"), context) as ledger:
        bench.note(ledger, 1)
        await asyncio.sleep(0)  # so that the task has begun
    assert not context.failed.done()


async def test_months_get_their_partitions_when_a_row_needs_them(bench: Bench) -> None:
    """A batch over several months, the edges included, each row in its month's partition."""
    moments = [months_ago(12), months_ago(11) - timedelta(milliseconds=1), months_ago(4)]
    store = RefusalStore(bench.pool)
    calls = [refused(client_address=bench.address, **at(moment)) for moment in moments]
    assert await store.insert(calls) == 3
    query = "SELECT tableoid::regclass::text FROM audit_logs WHERE client_address = $1 ORDER BY id"
    places = [row[0] for row in await bench.pool.fetch(query, bench.address)]
    months = [f"audit_logs_{moment:%Y_%m}" for moment in moments]
    assert places == months
    assert months[0] == months[1] != months[2]


async def test_signals_and_refused_calls_may_need_the_same_new_months(bench: Bench) -> None:
    """Both stages of one sink make partitions: nobody fails and nobody waits for ever."""
    customer = new_customer()
    await insert_tenant(bench.pool, customer)
    for batch in range(4):
        moments = [months_ago(22 - 4 * batch - month) for month in (0, 1, 3)]
        calls = [refused(client_address=bench.address, **at(moment)) for moment in moments]
        signals = [new_signal(customer, signal_id=each.id) for each in calls]
        others = [msgspec.structs.replace(each, id=uuid7(each.id.int >> 80, 1, 1)) for each in calls]
        await asyncio.gather(
            SignalStore(bench.pool).insert([accepted_signal(signal) for signal in signals], NOW),
            RefusalStore(bench.pool).insert(others),
        )
    assert len(await bench.rows()) == 12


async def test_more_calls_than_an_integer_holds_are_no_poison(bench: Bench) -> None:
    """A long outage under a flood ends in one large count."""
    stage = RefusalStage(RefusalStore(bench.pool), create_metrics())
    await stage.work([plain_record(refused(client_address=bench.address, count=2**40))])
    assert [row["count"] for row in await bench.rows()] == [2**40]


@pytest.mark.parametrize("missing", ["user_id", "user_agent", "content_type", "body_bytes", "lane"])
async def test_an_accepted_call_still_has_everything(bench: Bench, missing: str) -> None:
    """What refused calls may lack, accepted ones may not."""
    customer = new_customer()
    await insert_tenant(bench.pool, customer)
    signal = new_signal(customer)
    await SignalStore(bench.pool).insert([accepted_signal(signal)], NOW)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class is what is asserted
        await bench.pool.execute(f"UPDATE audit_logs SET {missing} = NULL WHERE id = $1", signal.signal_id)  # noqa: S608 - a literal
    assert classify(caught.value) is Failure.INVALID


async def test_refused_calls_are_read_by_time_from_their_own_index(bench: Bench) -> None:
    """However many calls were accepted in between."""
    start_ms = BASE_MS + 90 * 86_400_000
    customer = new_customer()
    await insert_tenant(bench.pool, customer)
    signals = [new_signal(customer, signal_id=uuid7(start_ms + number, 0, 0)) for number in range(3000)]
    await SignalStore(bench.pool).insert([accepted_signal(signal) for signal in signals], NOW)
    moments = [utc_from_ms(start_ms + 30 * number) for number in range(100)]
    await RefusalStore(bench.pool).insert([refused(**at(moment)) for moment in moments])
    await bench.pool.execute("ANALYZE audit_logs")
    query = "SELECT * FROM audit_logs WHERE first_at IS NOT NULL AND id < $1 ORDER BY id DESC LIMIT 20"
    bound = uuid7(start_ms + 2000, 0, 0)
    plan = orjson.loads(await bench.pool.fetchval(f"EXPLAIN (FORMAT JSON) {query}", bound))[0]["Plan"]
    rows = await bench.pool.fetch(query, bound)
    assert [row["received_at"] for row in rows] == sorted(
        (moment for moment in moments if moment < utc_from_ms(start_ms + 2000)), reverse=True
    )[:20]
    nodes = list(nodes_of(plan))
    assert not {node["Node Type"] for node in nodes} & {"Seq Scan", "Sort", "Bitmap Heap Scan"}
    indexes = await bench.pool.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs_refused'::regclass"
    )
    assert {node["Index Name"] for node in nodes if "Index Name" in node} <= {row[0] for row in indexes}


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)
