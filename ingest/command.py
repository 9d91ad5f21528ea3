"""`alerts ingest`: the ingress as a process."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import click

from ingest.app import create_app
from ingest.delivery import KafkaDelivery
from ingest.resend import ResendMemory
from ingest.settings import IngestSettings
from ingest.webhook import WebhookContext
from runtime.backlog import open_backlog
from runtime.directory import open_directory
from runtime.environment import Environment
from runtime.ids import SignalIds
from runtime.logging import get_logger
from runtime.operations import serve_http
from runtime.process import ProcessContext, guarded, run_command

log = get_logger(__name__)


@click.command("ingest")
@click.pass_obj
def command(environment: Environment) -> None:
    """Accept webhooks and publish them to Kafka."""
    run_command("ingest", IngestSettings, serve_ingest, environment.values)


@asynccontextmanager
async def serve_ingest(settings: IngestSettings, context: ProcessContext) -> AsyncIterator[None]:
    """Listens at once, also while Kafka is away: a refused connection is not resent, a 503 is.

    On exit: stop accepting, finish requests, flush the producer.
    """
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(
            open_directory(settings.kafka, context, "alerts-ingest-directory")
        )
        backlog = await stack.enter_async_context(open_backlog(settings.kafka, context))
        delivery = await stack.enter_async_context(_open_delivery(settings, context))
        webhook = WebhookContext(
            settings=settings.ingest,
            directory=directory,
            delivery=delivery,
            resends=ResendMemory(),
            ids=SignalIds(context.clock),
            backlog=backlog,
            clock=context.clock,
            span_id=lambda: secrets.randbits(64),
        )
        app = create_app(webhook, context.metrics)
        port = await stack.enter_async_context(serve_http(app, settings.ingest.host, settings.ingest.port))
        log.info("webhook_port_open", host=settings.ingest.host, port=port)
        yield


@asynccontextmanager
async def _open_delivery(settings: IngestSettings, context: ProcessContext) -> AsyncIterator[KafkaDelivery]:
    delivery = KafkaDelivery(settings.ingest.max_pending_bytes, context)
    running = asyncio.create_task(guarded(delivery.run(settings.kafka), context), name="delivery")
    context.readiness.add("producer", delivery.check)
    try:
        yield delivery
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
