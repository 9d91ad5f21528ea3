"""The pipeline from raw webhooks to rows, and `alerts deadletters` beside it, all in one process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from processors.command import serve_processors
from processors.settings import ProcessorSettings
from runtime.clock import SystemClock
from runtime.deadletters import DeadLetter, deadletter_message
from runtime.deadletters_command import command
from runtime.environment import Environment
from runtime.errors import InvalidError
from runtime.ids import SignalIds, received_at_of
from runtime.postgres import Pool, open_pool
from runtime.process import ProcessContext
from runtime.publisher import KafkaPublisher, Message, open_publisher
from runtime.settings import LoggingSettings, OperationsSettings, PostgresSettings
from runtime.streams.record import StreamRecord, TopicPartition
from schemas.headers import WEBHOOK_TYPE, CloudEvent, WebhookMetadata, event_headers, webhook_headers
from schemas.records import Lane
from schemas.topics import WEBHOOKS_RAW
from sinks.command import serve_sink
from sinks.settings import SinkSettings
from tests.support.broker import read_all
from tests.support.tenants import (
    Customer,
    create_local_topics,
    insert_tenant,
    kafka_settings,
    new_customer,
)
from tests.support.waiting import eventually

IDS = SignalIds(SystemClock())
OLD = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class BuriedPipeline:
    """Broker and database, with one tenant; the workers are started by the tests."""

    bootstrap: str
    database_url: str
    pool: Pool
    publisher: KafkaPublisher

    @asynccontextmanager
    async def workers(self, lane: Lane = Lane.MAIN) -> AsyncIterator[None]:
        """Processors of a lane and sink, until the block is left."""
        kafka = kafka_settings(self.bootstrap)
        postgres = PostgresSettings.model_validate({"url": self.database_url})
        common = (OperationsSettings.model_validate({}), LoggingSettings.model_validate({}))
        contexts = [ProcessContext(), ProcessContext()]
        async with AsyncExitStack() as stack:
            processing = serve_processors(ProcessorSettings(kafka, *common), contexts[0], lane)
            await stack.enter_async_context(processing)
            await stack.enter_async_context(serve_sink(SinkSettings(kafka, postgres, *common), contexts[1]))
            yield
        assert not any(context.failed.done() for context in contexts)

    async def customer(self) -> Customer:
        customer = new_customer()
        await insert_tenant(self.pool, customer)
        return customer

    async def run(self, *words: str, text: str | None = None) -> Result:
        """`alerts deadletters <words>`."""
        environment = Environment({"KAFKA_BOOTSTRAP": self.bootstrap})
        runner = CliRunner()
        return await asyncio.to_thread(runner.invoke, command, words, obj=environment, input=text)

    async def listed(self, *words: str) -> list[dict[str, Any]]:
        result = await self.run("list", "--json", *words)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    async def until_listed(self, count: int, *words: str) -> list[dict[str, Any]]:
        async def ask() -> list[dict[str, Any]]:
            found = await self.listed(*words)
            return found if len(found) >= count else []

        return await eventually(ask)

    async def until_rows(self, customer: Customer, count: int) -> list[Any]:
        query = "SELECT * FROM signals WHERE user_id = $1 ORDER BY id"

        async def ask() -> list[Any]:
            rows: list[Any] = await self.pool.fetch(query, customer.tenant.user_id)
            return rows if len(rows) >= count else []

        return await eventually(ask)

    async def audited(self, customer: Customer) -> int:
        query = "SELECT count(*) FROM audit_logs WHERE user_id = $1"
        rows: int = await self.pool.fetchval(query, customer.tenant.user_id)
        return rows

    async def held(self, topic: str) -> int:
        return len(await read_all(self.bootstrap, topic))


@asynccontextmanager
async def buried_pipeline(bootstrap: str, database_url: str) -> AsyncIterator[BuriedPipeline]:
    """On a broker without topics. What the roles log is kept from the output of the command beside them."""
    await create_local_topics(bootstrap)
    with capture_logs():
        async with (
            open_pool(PostgresSettings.model_validate({"url": database_url}), "test") as pool,
            open_publisher(kafka_settings(bootstrap), "test") as publisher,
        ):
            yield BuriedPipeline(bootstrap, database_url, pool, publisher)


def webhook(customer: Customer, body: bytes, topic: str = WEBHOOKS_RAW.name) -> Message:
    """As the ingress publishes it."""
    signal_id = IDS.mint()
    received_at = received_at_of(signal_id)
    metadata = WebhookMetadata(signal_id, received_at, "127.0.0.1", "agent", "text/plain", "", 1, len(body))
    event = CloudEvent(str(signal_id), WEBHOOK_TYPE, "ingest", received_at)
    return Message(topic, customer.key, body, [*event_headers(event), *webhook_headers(metadata)])


def letter_of(message: Message, stage: str = "process", reason: str = "unfit") -> Message:
    """The dead letter of a record that was on its topic."""
    record = StreamRecord(
        TopicPartition(message.topic, 0), 0, 1, 0, message.key, message.value, tuple(message.headers)
    )
    return deadletter_message(DeadLetter(record, stage, InvalidError(reason), 1, OLD))
