"""Lanes on a real broker: what overflows becomes a stored signal, and no lane waits for another."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from processors.command import serve_processors
from processors.lanes import ROUTES
from processors.settings import ProcessorSettings, ProcessSection
from runtime.clock import SystemClock
from runtime.ids import SignalIds, received_at_of
from runtime.postgres import Pool, open_pool
from runtime.process import ProcessContext
from runtime.publisher import Message, open_publisher
from runtime.settings import LoggingSettings, OperationsSettings, PostgresSettings
from schemas.codec import decode
from schemas.headers import WebhookMetadata, webhook_headers
from schemas.records import Lane, Signal
from schemas.topics import SIGNALS, SIGNALS_REPLAY
from sinks.command import serve_sink
from sinks.settings import SinkSettings
from tests.support.broker import lag, read_all
from tests.support.pipeline import role_process
from tests.support.tenants import (
    Customer,
    create_local_topics,
    insert_tenant,
    kafka_settings,
    new_customer,
    publish_tenants,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = b"Ticker: BINANCE:BTCUSDT\nPrecio: 1.5\nTipo: LONG"
COMMON = (OperationsSettings.model_validate({}), LoggingSettings.model_validate({}))

_IDS = SignalIds(SystemClock())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def customer(own_bootstrap: str) -> Customer:
    """A tenant that every directory knows."""
    await create_local_topics(own_bootstrap)
    customer = new_customer()
    await publish_tenants(own_bootstrap, customer)
    return customer


@asynccontextmanager
async def processors(bootstrap: str, *lanes: Lane, rate_per_s: float = 200) -> AsyncIterator[None]:
    """The lanes' processors, as in their processes, until the block is left."""
    section = ProcessSection.model_validate({"overflow_rate_per_s": rate_per_s})
    settings = ProcessorSettings(kafka_settings(bootstrap), *COMMON, section)
    contexts = [ProcessContext() for _lane in lanes]
    async with AsyncExitStack() as stack:
        for lane, context in zip(lanes, contexts, strict=True):
            await stack.enter_async_context(serve_processors(settings, context, lane))
        yield
    assert not any(context.failed.done() for context in contexts)


@asynccontextmanager
async def sink(bootstrap: str, database_url: str) -> AsyncIterator[Pool]:
    """The sink, and a pool to look at what it has stored."""
    postgres = PostgresSettings.model_validate({"url": database_url})
    context = ProcessContext()
    async with (
        serve_sink(SinkSettings(kafka_settings(bootstrap), postgres, *COMMON), context),
        open_pool(postgres, "test") as pool,
    ):
        yield pool
    assert not context.failed.done()


async def publish(bootstrap: str, lane: Lane, customer: Customer, count: int = 1) -> list[UUID]:
    """Webhooks as the ingress puts them on a lane's topic."""
    ids = [_IDS.mint() for _ in range(count)]
    messages = [
        Message(ROUTES[lane].source.name, customer.key, BODY, webhook_headers(metadata_of(one)))
        for one in ids
    ]
    async with open_publisher(kafka_settings(bootstrap), "test") as publisher:
        await publisher.publish(messages)
    return ids


def metadata_of(signal_id: UUID) -> WebhookMetadata:
    received_at = received_at_of(signal_id)
    return WebhookMetadata(signal_id, received_at, "192.0.2.7", "agent", "text/plain", "", 1, len(BODY))


async def signals_of(bootstrap: str, ids: Sequence[UUID], topic: str = SIGNALS.name) -> list[Signal]:
    """The signals of these webhooks, once each has one."""

    async def complete() -> list[Signal]:
        found = [decode(record.value, Signal) for record in await read_all(bootstrap, topic)]
        wanted = [one for one in found if one.signal_id in set(ids)]
        return wanted if {one.signal_id for one in wanted} == set(ids) else []

    return await eventually(complete)


async def lag_of(bootstrap: str, lane: Lane) -> int:
    return await lag(bootstrap, ROUTES[lane].group, ROUTES[lane].source.name)


async def until_done(bootstrap: str, lane: Lane) -> None:
    """Until the lane's group has committed all that its topic holds."""

    async def done() -> bool:
        return await lag_of(bootstrap, lane) == 0

    await eventually(done)


async def test_what_overflows_becomes_a_stored_signal(
    own_bootstrap: str, customer: Customer, database_url: str
) -> None:
    """One row and one audit row each, in order, that say the lane; beside the same tenant's main alerts."""
    async with processors(own_bootstrap, Lane.MAIN, Lane.OVERFLOW), sink(own_bootstrap, database_url) as pool:
        await insert_tenant(pool, customer)
        ids = {lane: await publish(own_bootstrap, lane, customer, 5) for lane in (Lane.OVERFLOW, Lane.MAIN)}
        wanted = [*ids[Lane.OVERFLOW], *ids[Lane.MAIN]]

        async def stored() -> list[Any]:
            query = "SELECT id, ticker, lane FROM signals WHERE id = ANY($1::uuid[]) ORDER BY id"
            rows = await pool.fetch(query, wanted)
            return list(rows) if len(rows) == len(wanted) else []

        rows = await eventually(stored)
        audits = await pool.fetchval("SELECT count(*) FROM audit_logs WHERE id = ANY($1::uuid[])", wanted)
    lanes = ["overflow"] * 5 + ["main"] * 5
    assert [(row["id"], row["lane"]) for row in rows] == list(zip(wanted, lanes, strict=True))
    assert {row["ticker"] for row in rows} == {"BINANCE:BTCUSDT"}
    assert audits == len(wanted)


async def test_a_lane_does_not_wait_for_a_process_that_hangs_or_dies(
    own_bootstrap: str, customer: Customer
) -> None:
    """With the overflow's process frozen main goes on; after its kill the next one does what it left."""
    variables = {"KAFKA_BOOTSTRAP": own_bootstrap}
    with role_process("process", variables):
        with role_process("process-overflow", variables) as overflow:
            await signals_of(own_bootstrap, await publish(own_bootstrap, Lane.OVERFLOW, customer))
            await until_done(own_bootstrap, Lane.OVERFLOW)
            overflow.send_signal(signal.SIGSTOP)
            overflowed = await publish(own_bootstrap, Lane.OVERFLOW, customer, 20)
            [main] = await signals_of(own_bootstrap, await publish(own_bootstrap, Lane.MAIN, customer))
            await until_done(own_bootstrap, Lane.MAIN)
            assert main.lane is Lane.MAIN
            assert await lag_of(own_bootstrap, Lane.OVERFLOW) == len(overflowed)
            overflow.kill()
        with role_process("process-overflow", variables):
            late = await signals_of(own_bootstrap, overflowed)
            await until_done(own_bootstrap, Lane.OVERFLOW)
    assert [one.signal_id for one in late] == overflowed
    assert {one.lane for one in late} == {Lane.OVERFLOW}


async def test_a_lane_that_crawls_holds_up_nobody_and_stops_at_once(
    own_bootstrap: str, customer: Customer
) -> None:
    """At one record a second a flood stays in its own topic; a stop leaves what had no turn to the next."""
    async with processors(own_bootstrap, Lane.MAIN):
        async with processors(own_bootstrap, Lane.OVERFLOW, rate_per_s=1):
            flood = await publish(own_bootstrap, Lane.OVERFLOW, customer, 200)
            await signals_of(own_bootstrap, flood[:1])
            main = await signals_of(own_bootstrap, await publish(own_bootstrap, Lane.MAIN, customer, 50))
        assert {one.lane for one in main} == {Lane.MAIN}
        assert await lag_of(own_bootstrap, Lane.OVERFLOW) > 0
        async with processors(own_bootstrap, Lane.OVERFLOW, rate_per_s=10_000):
            late = await signals_of(own_bootstrap, flood)
            await until_done(own_bootstrap, Lane.OVERFLOW)
    assert list(dict.fromkeys(one.signal_id for one in late)) == flood


async def test_a_replay_reaches_its_own_topic_alone(own_bootstrap: str, customer: Customer) -> None:
    """Subscribers of `signals` never see it."""
    async with processors(own_bootstrap, Lane.REPLAY):
        ids = await publish(own_bootstrap, Lane.REPLAY, customer, 3)
        replayed = await signals_of(own_bootstrap, ids, SIGNALS_REPLAY.name)
        await until_done(own_bootstrap, Lane.REPLAY)
    assert {one.lane for one in replayed} == {Lane.REPLAY}
    shown = [decode(record.value, Signal) for record in await read_all(own_bootstrap, SIGNALS.name)]
    assert not {one.signal_id for one in shown} & set(ids)
