"""`alerts sink`: the sink as a process."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import click

from runtime.directory import open_directory
from runtime.environment import Environment
from runtime.postgres import open_pool, ping
from runtime.process import ProcessContext, ProcessSettings, guarded, run_role
from runtime.publisher import open_publisher
from runtime.settings import load_settings
from runtime.streams.service import Stage, StreamSettings, run_stages
from schemas.topics import CAPTURE_EVENTS, SIGNALS
from sinks.relay import TenantRelay
from sinks.settings import SinkSettings
from sinks.stages import EVENTS_STAGE, SIGNALS_STAGE, CaptureEventStage, SignalStage
from sinks.store import SignalStore

GROUP: Final = "alerts.sink"


@click.command("sink")
@click.pass_obj
def command(environment: Environment) -> None:
    """Store signals and capture events; publish tenant changes."""
    settings = load_settings(SinkSettings, environment.values)
    process = ProcessSettings("sink", settings.logging, settings.operations)
    sys.exit(run_role(process, lambda context: serve_sink(settings, context)))


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
        stages = [
            Stage(SIGNALS_STAGE, (SIGNALS.name,), signals.work),
            Stage(EVENTS_STAGE, (CAPTURE_EVENTS.name,), CaptureEventStage(store).work, batch=200),
        ]
        relay = TenantRelay(pool, publisher, context.clock, context.metrics)
        relaying = asyncio.create_task(guarded(relay.run(reader), context), name="tenant-relay")
        try:
            async with run_stages(StreamSettings(GROUP, settings.kafka), stages, publisher, context):
                yield
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
