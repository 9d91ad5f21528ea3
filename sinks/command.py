"""`alerts sink`: the sink as a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import click

from runtime.directory import open_directory
from runtime.environment import Environment
from runtime.postgres import open_pool, ping
from runtime.process import ProcessContext, guarded, run_command
from runtime.publisher import open_publisher
from runtime.streams.service import Stage, StreamSettings, run_stages
from schemas.topics import CAPTURE_EVENTS, SIGNALS, WEBHOOKS_REFUSED
from sinks.refusals import REFUSALS_STAGE, RefusalStage, RefusalStore
from sinks.relay import TenantRelay
from sinks.settings import SinkSettings
from sinks.stages import EVENTS_STAGE, SIGNALS_STAGE, CaptureEventStage, SignalStage
from sinks.store import SignalStore

GROUP: Final = "alerts.sink"


@click.command("sink")
@click.pass_obj
def command(environment: Environment) -> None:
    """Store signals, capture events and refused calls; publish tenant changes."""
    run_command("sink", SinkSettings, serve_sink, environment.values)


@asynccontextmanager
async def serve_sink(settings: SinkSettings, context: ProcessContext) -> AsyncIterator[None]:
    async with (
        open_pool(settings.postgres, "sink") as pool,
        open_publisher(settings.kafka, "alerts-sink") as publisher,
        open_directory(settings.kafka, context, "alerts-sink-directory") as reader,
    ):
        context.readiness.add("postgres", lambda: ping(pool))
        store = SignalStore(pool)
        signals = SignalStage(store, publisher, context.metrics, context.clock)
        refusals = RefusalStage(RefusalStore(pool), context.metrics)
        stages = [
            # two at a time: signals of the main lane are written while a bite of the overflow is
            Stage(SIGNALS_STAGE, (SIGNALS.name,), signals.work, parallel=2),
            Stage(EVENTS_STAGE, (CAPTURE_EVENTS.name,), CaptureEventStage(store).work, batch=200),
            Stage(REFUSALS_STAGE, (WEBHOOKS_REFUSED.name,), refusals.work),
        ]
        relay = TenantRelay(pool, publisher, context.clock, context.metrics)
        relaying = asyncio.create_task(guarded(relay.run(reader), context), name="tenant-relay")
        try:
            async with run_stages(StreamSettings(GROUP, settings.kafka), stages, publisher, context):
                yield
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
