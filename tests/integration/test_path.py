"""An alert's way from HTTP to a stored row and a capture request: ingress, processors and sink together."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from processors.command import serve_processors
from processors.settings import ProcessorSettings
from runtime.ids import received_at_of
from runtime.postgres import Pool, open_pool
from runtime.process import ProcessContext
from runtime.settings import LoggingSettings, OperationsSettings, PostgresSettings
from schemas.codec import decode, encode
from schemas.plans import Plan
from schemas.records import CaptureEventKind, CaptureRequest, Picture, StoredSignal
from schemas.topics import CAPTURE_EVENTS, CAPTURES, DEADLETTERS, SIGNALS, SIGNALS_STORED
from sinks.command import serve_sink
from sinks.settings import SinkSettings
from tests.support.broker import produce, read_all
from tests.support.http import post
from tests.support.ingress import RunningIngress, running_ingress
from tests.support.signals import new_event, new_signal
from tests.support.stack import ROOT
from tests.support.tenants import (
    CHART_ID,
    Customer,
    create_local_topics,
    insert_tenant,
    kafka_settings,
    new_customer,
)
from tests.support.waiting import eventually
from tests.support.webhooks import parse

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLUMNS = (
    "ticker",
    "exchange",
    "symbol",
    "delayed",
    "price",
    "direction",
    "indicator",
    "signal_type",
    "interval",
    "bar_time",
    "triggered_at",
    "chart_id",
    "message",
    "parse_status",
    "warnings",
)
SHORT = "BINANCE:BTCUSDT 67890.5 LONG"
LABELLED = "🟢 ADX DEF\nTicker: NASDAQ:AAPL\nPrecio: $1,234.50\nSeñal: VENTA\nTemporalidad: 15"
JSON = '{"ticker":"BINANCE:ETHUSDT","price":"3456.70","action":"buy","interval":"60","chart":"Zz9Yy8Xx"}'


@dataclass(frozen=True)
class Pipeline:
    """Everything between the sender and the store, except the parts a test starts itself."""

    bootstrap: str
    database_url: str
    ingress: RunningIngress
    pool: Pool

    @asynccontextmanager
    async def workers(self) -> AsyncIterator[None]:
        """Processors and sink, until the block is left."""
        kafka, postgres = (
            kafka_settings(self.bootstrap),
            PostgresSettings.model_validate({"url": self.database_url}),
        )
        common = (OperationsSettings.model_validate({}), LoggingSettings.model_validate({}))
        contexts = [ProcessContext(), ProcessContext()]
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serve_processors(ProcessorSettings(kafka, *common), contexts[0]))
            await stack.enter_async_context(serve_sink(SinkSettings(kafka, postgres, *common), contexts[1]))
            yield
        assert not any(context.failed.done() for context in contexts)

    async def send(self, customer: Customer, body: str, query: str = "") -> UUID:
        answer = await post(self.ingress.port, customer.path + query, body.encode())
        assert answer.status == 200
        return UUID(answer.json["signal_id"])

    async def until_row(self, signal_id: UUID, condition: str = "true") -> Any:
        """The row, once it is there and meets the condition."""
        query = f"SELECT * FROM signals WHERE id = $1 AND {condition}"  # noqa: S608 - literals
        return await eventually(lambda: self.pool.fetchrow(query, signal_id))

    async def admit(self, customer: Customer) -> Customer:
        """Into the system of record; the relay does the rest."""
        await insert_tenant(self.pool, customer)

        async def knock() -> bool:
            return (await post(self.ingress.port, customer.path, b"knock")).status == HTTPStatus.OK

        await eventually(knock)
        return customer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pipeline(own_bootstrap: str, postgres_url: str) -> AsyncIterator[Pipeline]:
    await create_local_topics(own_bootstrap)
    async with (
        open_pool(PostgresSettings.model_validate({"url": postgres_url}), "test") as pool,
        running_ingress(own_bootstrap) as ingress,
    ):
        await ingress.until_ready()
        yield Pipeline(own_bootstrap, postgres_url, ingress, pool)


async def test_alerts_become_rows_and_capture_requests(pipeline: Pipeline) -> None:
    """The three forms of a message, from the sender's words to typed columns, and a picture for each."""
    async with pipeline.workers():
        customer = await pipeline.admit(new_customer())
        ids = [
            await pipeline.send(customer, SHORT),
            await pipeline.send(customer, LABELLED),
            await pipeline.send(customer, JSON, "?chart="),
        ]
        rows = [await pipeline.until_row(one, "capture_requested_at IS NOT NULL") for one in ids]
    told = [(row["ticker"], row["price"], row["direction"], row["chart_id"]) for row in rows]
    assert told == [
        ("BINANCE:BTCUSDT", None, "long", CHART_ID),
        ("NASDAQ:AAPL", Decimal("1234.50"), "short", CHART_ID),
        ("BINANCE:ETHUSDT", Decimal("3456.70"), "long", "Zz9Yy8Xx"),
    ]
    assert [row["message"] for row in rows] == [SHORT, LABELLED, JSON]
    assert [row["timestamp"] for row in rows] == [received_at_of(one) for one in ids]
    requests = await of_customer(pipeline, CAPTURES[Plan.PREMIUM].name, customer, CaptureRequest)
    by_id = {request.signal_id: request for request in requests}
    assert {(by_id[one].ticker, by_id[one].chart_id) for one in ids} == {(row[0], row[3]) for row in told}
    announced = await of_customer(pipeline, SIGNALS_STORED.name, customer, StoredSignal)
    assert set(ids) <= {stored.signal_id for stored in announced}


async def test_what_the_parser_reads_is_what_is_stored(pipeline: Pipeline) -> None:
    """A sample of the parser's cases, from the sender's bytes to the row: nothing is bent on the way."""
    async with pipeline.workers():
        customer = await pipeline.admit(new_customer())
        for body, query in sample_of_cases():
            answer = await post(pipeline.ingress.port, f"{customer.path}?{query}", body)
            assert answer.status == HTTPStatus.OK
            row = await pipeline.until_row(UUID(answer.json["signal_id"]))
            read = parse(body, query, customer.tenant)
            assert {column: row[column] for column in COLUMNS} == {
                column: getattr(read, column) for column in COLUMNS
            }, body


def sample_of_cases() -> Iterator[tuple[bytes, str]]:
    """Body and query of every fourth."""
    lines = (ROOT / "tests/unit/processors/cases.jsonl").read_text("utf-8").splitlines()
    for case in map(json.loads, lines[::4]):
        encoded = case.get("body_base64")
        body = base64.b64decode(encoded) if encoded is not None else case["body"].encode()
        yield body, case.get("query", "")


async def test_what_comes_while_the_workers_are_down_is_stored_once_they_are_back(pipeline: Pipeline) -> None:
    """The topics hold it, and what was stored before is not stored again."""
    async with pipeline.workers():
        customer = await pipeline.admit(new_customer())
        before = await pipeline.send(customer, SHORT)
        await pipeline.until_row(before)
    ids = [await pipeline.send(customer, f"{SHORT} {number}") for number in range(20)]
    async with pipeline.workers():
        for signal_id in ids:
            await pipeline.until_row(signal_id)
    query = "SELECT count(*) FROM signals WHERE user_id = $1 AND message <> 'knock'"
    assert await pipeline.pool.fetchval(query, customer.tenant.user_id) == 21
    assert await pipeline.pool.fetchval("SELECT count(*) FROM audit_logs WHERE id = $1", ids[-1]) == 1


async def test_records_that_cannot_be_stored_end_as_dead_letters(pipeline: Pipeline) -> None:
    """Unreadable bytes, and a signal no column can hold; their neighbour is stored."""
    async with pipeline.workers():
        customer = await pipeline.admit(new_customer())
        await produce(pipeline.bootstrap, SIGNALS.name, [b"poison", encode(new_signal(customer))])
        await pipeline.until_row(await pipeline.send(customer, SHORT))
        letters = await until_dead(pipeline, 2)
    assert [(letter[0], letter[1]) for letter in letters] == [
        (b"sink", b"bad_record"),
        (b"sink", b"bad_headers"),
    ]


async def test_a_capture_event_reaches_its_row(pipeline: Pipeline) -> None:
    """What a worker publishes is what the row shows in the end, with its picture."""
    async with pipeline.workers():
        customer = await pipeline.admit(new_customer())
        signal_id = await pipeline.send(customer, JSON)
        row = await pipeline.until_row(signal_id)
        signal = new_signal(customer, signal_id=signal_id)
        assert row["screenshot_status"] == "pending"
        picture = Picture(
            key=f"{signal_id}.png",
            size_bytes=10,
            width_px=1920,
            height_px=1080,
            captured_at=signal.received_at + timedelta(seconds=1),
        )
        events = [
            new_event(signal, CaptureEventKind.STARTED),
            new_event(signal, CaptureEventKind.COMPLETED, picture=picture),
        ]
        await produce(pipeline.bootstrap, CAPTURE_EVENTS.name, [encode(event) for event in events])
        await pipeline.until_row(signal_id, "screenshot_status = 'completed'")
    query = "SELECT screenshot_key FROM signal_screenshots WHERE signal_id = $1"
    assert await pipeline.pool.fetchval(query, signal_id) == picture.key


async def of_customer(pipeline: Pipeline, topic: str, customer: Customer, kind: type[Any]) -> list[Any]:
    records = await read_all(pipeline.bootstrap, topic)
    return [decode(record.value, kind) for record in records if record.key == customer.key]


async def until_dead(pipeline: Pipeline, count: int) -> list[tuple[bytes, bytes]]:
    """Stage and reason of every dead letter in order, once there are so many."""

    async def letters() -> list[Any]:
        found = await read_all(pipeline.bootstrap, DEADLETTERS.name)
        return found if len(found) >= count else []

    found = sorted(await eventually(letters), key=lambda letter: letter.offset)
    headers = [dict(letter.headers) for letter in found]
    return [(one["dl_stage"], one["dl_reason"]) for one in headers]
