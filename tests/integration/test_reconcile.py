"""`alerts reconcile` on a real broker and database, with real processors and sink."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from click.testing import CliRunner, Result

from processors.command import serve_processors
from processors.settings import ProcessorSettings
from runtime.clock import SystemClock, utc_from_ms
from runtime.deadletters import DeadLetter, deadletter_message
from runtime.environment import Environment
from runtime.errors import InvalidError
from runtime.ids import uuid7
from runtime.kafka import stop_client
from runtime.process import ProcessContext
from runtime.publisher import Message
from runtime.settings import LoggingSettings, OperationsSettings
from runtime.streams.record import StreamRecord, TopicPartition
from schemas.groups import GROUPS
from schemas.headers import WEBHOOK_TYPE, CloudEvent, WebhookMetadata, event_headers, webhook_headers
from schemas.plans import Plan
from schemas.records import Lane
from schemas.topics import WEBHOOKS_OVERFLOW, WEBHOOKS_RAW, WEBHOOKS_REPLAY
from sinks.reconcile_command import command
from tests.support.broker import partitions_of
from tests.support.buried import OLD, BuriedPipeline, buried_pipeline, webhook
from tests.support.tenants import (
    Customer,
    insert_tenant,
    kafka_settings,
    new_customer,
    publish_tenants,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_MS = 60 * 60 * 1000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pipeline(own_bootstrap: str, postgres_url: str) -> AsyncIterator[BuriedPipeline]:
    async with buried_pipeline(own_bootstrap, postgres_url) as pipeline:
        yield pipeline


@asynccontextmanager
async def processors(pipeline: BuriedPipeline, lane: Lane = Lane.MAIN) -> AsyncIterator[None]:
    """Processors of one lane, without a sink."""
    common = (OperationsSettings.model_validate({}), LoggingSettings.model_validate({}))
    settings = ProcessorSettings(kafka_settings(pipeline.bootstrap), *common)
    context = ProcessContext()
    async with serve_processors(settings, context, lane):
        yield
    assert not context.failed.done()


async def run(pipeline: BuriedPipeline, *words: str, **changes: str) -> Result:
    """`alerts reconcile <words>`."""
    values = {"KAFKA_BOOTSTRAP": pipeline.bootstrap, "DATABASE_URL": pipeline.database_url, **changes}
    return await asyncio.to_thread(CliRunner().invoke, command, words, obj=Environment(values))


async def found(pipeline: BuriedPipeline, customer: Customer | None, *words: str) -> dict[str, Any]:
    """The JSON of a run about one tenant, or about all."""
    about = ("--user", str(customer.tenant.user_id)) if customer else ()
    result = await run(pipeline, "--json", *about, *words)
    report: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (1 if report["gap"] else 0), result.output
    assert report["total"]["missing"] == len(report["missing"])
    return report


def counts(report: Mapping[str, Any]) -> dict[str, int]:
    """The total without zeros."""
    return {name: count for name, count in report["total"].items() if count}


async def until(pipeline: BuriedPipeline, customer: Customer | None, **wanted: int) -> dict[str, Any]:
    """Until a run has this total: groups commit a moment after the effect. No run on the way has a gap."""

    async def ask() -> dict[str, Any] | None:
        report = await found(pipeline, customer)
        assert report["missing"] == []
        return report if counts(report) == wanted else None

    return await eventually(ask)


def id_of(message: Message) -> str:
    return dict(message.headers)["ce_id"].decode()


def old_webhook(customer: Customer, received_ms: int) -> Message:
    """As the spool publishes it, long after it was received."""
    received_at = utc_from_ms(received_ms)
    signal_id = uuid7(received_ms, 0, 1)
    metadata = WebhookMetadata(signal_id, received_at, "127.0.0.1", "agent", "text/plain", "", 1, 1)
    event = CloudEvent(str(signal_id), WEBHOOK_TYPE, "ingest", received_at)
    headers = [*event_headers(event), *webhook_headers(metadata)]
    return Message(WEBHOOKS_RAW.name, customer.key, b"x", headers)


async def delete_row(pipeline: BuriedPipeline, signal_id: str) -> None:
    await pipeline.pool.execute("DELETE FROM signals WHERE id = $1", UUID(signal_id))


async def test_exactly_the_deleted_row_is_named(pipeline: BuriedPipeline) -> None:
    """Copies on all lanes count once; the run repeats, changes nothing, and exits with 1 for the gap."""
    customer = await pipeline.customer()
    alerts = [webhook(customer, b"X:A%d 1 LONG" % number) for number in range(8)]
    overflown = [webhook(customer, b"X:O%d 1" % number, WEBHOOKS_OVERFLOW.name) for number in range(3)]
    repeated = [alerts[0], Message(WEBHOOKS_OVERFLOW.name, customer.key, b"", alerts[1].headers)]
    await pipeline.publisher.publish([*alerts, *overflown, *repeated])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pipeline.workers())
        await stack.enter_async_context(processors(pipeline, Lane.OVERFLOW))
        await pipeline.until_rows(customer, 11)
        replayed = Message(WEBHOOKS_REPLAY.name, customer.key, alerts[2].value, alerts[2].headers)
        await pipeline.publisher.publish([replayed])
        await until(pipeline, customer, accepted=11, stored=11)
        await until(pipeline, None, accepted=11, stored=11)
    # a stopped group has committed all that it worked off
    lost = id_of(alerts[5])
    await delete_row(pipeline, lost)
    first = await found(pipeline, None)
    assert [(item["signal_id"], item["lost"]) for item in first["missing"]] == [(lost, "after processors")]
    assert counts(first) == {"accepted": 11, "stored": 10, "missing": 1}
    assert await found(pipeline, None) == first
    table = await run(pipeline)
    assert (table.exit_code, table.output.count(lost)) == (1, 1)
    assert not any(id_of(alert) in table.output for alert in alerts if alert is not alerts[5])
    # the replayed copy of another is on its way still, and a row of it that is gone may come back
    await delete_row(pipeline, id_of(alerts[2]))
    assert counts(await found(pipeline, customer)) == {
        "accepted": 11,
        "stored": 9,
        "in_flight": 1,
        "missing": 1,
    }


async def test_what_stopped_roles_have_before_them_is_in_flight(pipeline: BuriedPipeline) -> None:
    """Without processors, then without a sink; no gap at any time, and all stored in the end."""
    customer = await pipeline.customer()
    alerts = [webhook(customer, b"X:A%d 1 LONG" % number) for number in range(5)]
    await pipeline.publisher.publish(alerts)
    await until(pipeline, customer, accepted=5, in_flight=5)
    before = await pipeline.held("signals")
    async with processors(pipeline):
        # the relay of a sink is not there to publish the tenant
        await publish_tenants(pipeline.bootstrap, customer)
        await eventually(lambda: _holds(pipeline, before + 5))
    await until(pipeline, customer, accepted=5, in_flight=5)
    async with pipeline.workers():
        await until(pipeline, customer, accepted=5, stored=5)


async def _holds(pipeline: BuriedPipeline, count: int) -> bool:
    return await pipeline.held("signals") >= count


async def test_a_dead_letter_is_dead_until_it_is_put_back(
    pipeline: BuriedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead, in flight once redriven, stored when it was worked off, missing when the row is lost then."""
    customer = await pipeline.customer()

    def parse(*_parts: Any) -> Any:
        raise ZeroDivisionError

    alert = webhook(customer, b"X:A 1 LONG")
    with monkeypatch.context() as broken:
        broken.setattr("processors.stage.parse_webhook", parse)
        async with pipeline.workers():
            await pipeline.publisher.publish([alert])
            await until(pipeline, customer, accepted=1, dead=1)
    await until(pipeline, customer, accepted=1, dead=1)
    result = await pipeline.run("redrive", "--tenant", str(customer.tenant.user_id), "--yes")
    assert result.exit_code == 0, result.output
    await until(pipeline, customer, accepted=1, in_flight=1)
    async with pipeline.workers():
        await until(pipeline, customer, accepted=1, stored=1)
    await delete_row(pipeline, id_of(alert))
    assert [item["signal_id"] for item in (await found(pipeline, customer))["missing"]] == [id_of(alert)]


async def test_what_no_topic_ever_took_is_accepted_and_dead(pipeline: BuriedPipeline) -> None:
    """The ingress answered it with 200 and buried it: the letter is all there is."""
    customer = await pipeline.customer()
    original = webhook(customer, b"X:A 1 LONG")
    place = TopicPartition(original.topic, -1)
    record = StreamRecord(place, -1, 0, 0, original.key, original.value, tuple(original.headers))
    letter = DeadLetter(record, "ingest", InvalidError("refused_by_topic"), 1, OLD)
    await pipeline.publisher.publish([deadletter_message(letter)])
    await until(pipeline, customer, accepted=1, dead=1)


async def test_a_deleted_tenants_alerts_are_told_apart(pipeline: BuriedPipeline) -> None:
    """They were accepted, and left out by the processors on purpose."""
    customer = new_customer(deleted=True)
    await insert_tenant(pipeline.pool, customer)
    await pipeline.pool.execute("UPDATE users SET deleted_at = now() WHERE id = $1", customer.tenant.user_id)
    await pipeline.publisher.publish([webhook(customer, b"X:A 1 LONG")])
    async with pipeline.workers():
        await until(pipeline, customer, accepted=1, tenant_deleted=1)


async def test_records_that_a_group_skipped_are_lost_before_signals(pipeline: BuriedPipeline) -> None:
    """Somebody moved the group's offsets over them."""
    customer = await pipeline.customer()
    alert = webhook(customer, b"X:A 1 LONG")
    await pipeline.publisher.publish([alert])
    await skip_to_end(pipeline, WEBHOOKS_RAW.name, GROUPS[WEBHOOKS_RAW])
    [lost] = (await found(pipeline, customer))["missing"]
    assert (lost["signal_id"], lost["lost"]) == (id_of(alert), "before signals")


async def skip_to_end(pipeline: BuriedPipeline, topic: str, group: str) -> None:
    places = await partitions_of(pipeline.bootstrap, topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=pipeline.bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
    finally:
        await stop_client(consumer.stop())


async def test_the_window_is_about_when_alerts_were_received(pipeline: BuriedPipeline) -> None:
    """An alert that waited in a spool for hours is of the hour it came in; an old one has expired."""
    customer = new_customer(Plan.FREE)
    await insert_tenant(pipeline.pool, customer)
    now_ms = SystemClock().unix_ms()
    moments_ms = [now_ms - 100 * 24 * HOUR_MS, now_ms - 5 * HOUR_MS, now_ms]
    await pipeline.publisher.publish([old_webhook(customer, moment) for moment in moments_ms])
    every = await until(pipeline, customer, accepted=3, in_flight=3)
    assert [row["accepted"] for row in every["hours"]] == [1, 1, 1]
    assert [row["hour"] for row in every["hours"]] == [
        utc_from_ms(moment // HOUR_MS * HOUR_MS).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for moment in moments_ms
    ]
    windows = {("--from", "1h"): 1, ("--from", "6h"): 2, ("--to", "1h"): 2, ("--from", "6h", "--to", "1h"): 1}
    for words, accepted in windows.items():
        assert (await found(pipeline, customer, *words))["total"]["accepted"] == accepted, words
    await skip_to_end(pipeline, WEBHOOKS_RAW.name, GROUPS[WEBHOOKS_RAW])
    report = await found(pipeline, customer)
    assert counts(report) == {"accepted": 3, "expired": 1, "missing": 2}


async def test_a_pipeline_at_work_has_no_gap(pipeline: BuriedPipeline) -> None:
    """Run after run while alerts pour in: never a missing one."""
    customer = await pipeline.customer()
    total = 600

    async def pour() -> None:
        for start in range(0, total, 20):
            alerts = [webhook(customer, b"X:A%d 1 LONG" % number) for number in range(start, start + 20)]
            await pipeline.publisher.publish(alerts)

    async with pipeline.workers():
        pouring = asyncio.create_task(pour())
        while not pouring.done():
            assert (await found(pipeline, customer))["missing"] == []
        await pouring
        await until(pipeline, customer, accepted=total, stored=total)


async def test_a_role_that_sees_nobodys_rows_is_refused(pipeline: BuriedPipeline) -> None:
    """Under row-level security everything would seem to be missing."""
    async with pipeline.pool.acquire() as owner:
        await owner.execute("CREATE ROLE blinkered LOGIN PASSWORD 'blinkered'")
        await owner.execute("GRANT SELECT ON users, signals TO blinkered")
        try:
            url = pipeline.database_url.split("@")[-1]
            result = await run(pipeline, DATABASE_URL=f"postgresql://blinkered:blinkered@{url}")
        finally:
            await owner.execute("DROP OWNED BY blinkered")
            await owner.execute("DROP ROLE blinkered")
    assert (result.exit_code, "does not see the rows of all tenants" in result.output) == (3, True)


async def test_what_does_not_answer_is_named(pipeline: BuriedPipeline) -> None:
    """No result is neither clean nor a gap: exit code 3 and a line that says what to do."""
    away = {
        "Kafka": {"KAFKA_BOOTSTRAP": "127.0.0.1:1"},
        "Postgres": {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"},
    }
    for name, changes in away.items():
        result = await run(pipeline, **changes)
        assert result.exit_code == 3, result.output
        assert result.output.splitlines()[-1].startswith(f"Error: {name} did not answer")
    result = await run(pipeline, "--ingress", "http://127.0.0.1:1")
    assert (result.exit_code, "--ingress" in result.output) == (3, True)
    result = await run(pipeline, "--from", "1h", "--to", "2h")
    assert (result.exit_code, "--from must be before --to" in result.output) == (2, True)


async def test_nothing_is_written(pipeline: BuriedPipeline) -> None:
    """The platform's role, which may only read, is enough."""
    async with pipeline.pool.acquire() as owner:
        await owner.execute("CREATE ROLE onlooker LOGIN PASSWORD 'onlooker'")
        try:
            await owner.execute("GRANT alerts_platform_reader TO onlooker")
            url = pipeline.database_url.split("@")[-1]
            result = await run(pipeline, "--json", DATABASE_URL=f"postgresql://onlooker:onlooker@{url}")
        finally:
            await owner.execute("DROP ROLE onlooker")
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout) == await found(pipeline, None)
