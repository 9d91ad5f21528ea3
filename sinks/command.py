"""`alerts sink`: the sink of one lane as a process."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import click

from runtime.directory import open_directory
from runtime.environment import Environment
from runtime.examples import example
from runtime.postgres import Pool, open_pool, ping
from runtime.process import ProcessContext, guarded, run_command
from runtime.publisher import Publisher, open_publisher
from runtime.streams.service import Stage, StreamSettings, run_stages
from schemas.groups import GROUPS
from schemas.topics import CAPTURE_EVENTS, SIGNALS, SIGNALS_REPLAY, WEBHOOKS_REFUSED
from sinks.capture_store import CaptureStore
from sinks.capture_sweep import CaptureSweep
from sinks.housekeeping import Housekeeping
from sinks.partitions import Partitions
from sinks.refusals import REFUSALS_STAGE, RefusalStage, RefusalStore
from sinks.relay import TenantRelay
from sinks.retention import Retention
from sinks.settings import SinkSettings
from sinks.stages import EVENTS_STAGE, REPLAY_STAGE, SIGNALS_STAGE, CaptureEventStage, SignalStage
from sinks.store import SignalStore

REPLAY_NICENESS: Final = 10


@click.command("sink", epilog=example("sink", "sink --lane replay"))
@click.option(
    "--lane",
    type=click.Choice(["main", "replay"]),
    default="main",
    show_default=True,
    help="replay: the signals that a replay parsed anew, by a process of its own",
)
@click.pass_obj
def command(environment: Environment, lane: str) -> None:
    """Store signals, capture events and refused calls; publish tenant changes."""
    if lane == "replay":
        # on a machine that is shared with the main lane, the main lane goes first
        os.nice(REPLAY_NICENESS)
        run_command("sink-replay", SinkSettings, serve_replay, environment.values)
    run_command("sink", SinkSettings, serve_sink, environment.values)


@asynccontextmanager
async def serve_sink(settings: SinkSettings, context: ProcessContext) -> AsyncIterator[None]:
    async with (
        _opened(settings, context) as (pool, publisher),
        open_pool(settings.housekeeping.postgres(settings.postgres), "housekeeping") as keeper,
        open_directory(settings.kafka, context, "alerts-sink-directory") as reader,
    ):
        relay = TenantRelay(pool, publisher, context.clock, context.metrics)
        sweep = CaptureSweep(pool, publisher, context.metrics, context.clock)
        housekeeping = Housekeeping(
            Partitions(keeper, settings.housekeeping.partition_width),
            Retention(keeper, context.clock),
            context.clock,
            context.metrics,
        )
        jobs = {
            "housekeeping": housekeeping.run(),
            "tenant-relay": relay.run(reader),
            "capture-sweep": sweep.run(),
        }
        stages = _stages(pool, publisher, context)
        async with _running(jobs, context):
            group = StreamSettings(GROUPS[SIGNALS], settings.kafka)
            async with run_stages(group, stages, publisher, context):
                yield


@asynccontextmanager
async def serve_replay(settings: SinkSettings, context: ProcessContext) -> AsyncIterator[None]:
    async with _opened(settings, context) as (pool, publisher):
        signals = SignalStage(SignalStore(pool), publisher, context.metrics, context.clock)
        stage = Stage(REPLAY_STAGE, (SIGNALS_REPLAY.name,), signals.replay)
        group = StreamSettings(GROUPS[SIGNALS_REPLAY], settings.kafka)
        async with run_stages(group, [stage], publisher, context):
            yield


def _stages(pool: Pool, publisher: Publisher, context: ProcessContext) -> Sequence[Stage]:
    signals = SignalStage(SignalStore(pool), publisher, context.metrics, context.clock)
    refusals = RefusalStage(RefusalStore(pool), context.metrics)
    return [
        # two at a time: signals of the main lane are written while a bite of the overflow is
        Stage(SIGNALS_STAGE, (SIGNALS.name,), signals.work, parallel=2),
        Stage(EVENTS_STAGE, (CAPTURE_EVENTS.name,), CaptureEventStage(CaptureStore(pool)).work, batch=200),
        Stage(REFUSALS_STAGE, (WEBHOOKS_REFUSED.name,), refusals.work),
    ]


@asynccontextmanager
async def _opened(settings: SinkSettings, context: ProcessContext) -> AsyncIterator[tuple[Pool, Publisher]]:
    async with (
        open_pool(settings.postgres, "sink", resets=False) as pool,
        open_publisher(settings.kafka, "alerts-sink") as publisher,
    ):
        context.readiness.add("postgres", partial(ping, pool))
        yield pool, publisher


@asynccontextmanager
async def _running(
    jobs: dict[str, Coroutine[Any, Any, None]], context: ProcessContext
) -> AsyncIterator[None]:
    """The jobs beside the stages; the failure of one fails the process."""
    tasks = [asyncio.create_task(guarded(job, context), name=name) for name, job in jobs.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
