"""`alerts process`: the processors of one lane as a process."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import click

from processors.indicators import indicator_folders, load_indicators
from processors.lanes import ROUTES, lane_stage
from processors.settings import ProcessorSettings
from processors.stage import ProcessorStage
from runtime.directory import open_directory
from runtime.environment import Environment
from runtime.examples import example
from runtime.process import ProcessContext, run_command
from runtime.publisher import open_publisher
from runtime.settings import load_settings
from runtime.streams.service import StreamSettings, run_stages
from schemas.records import Lane

PACED_NICENESS: Final = 10


@click.command("process", epilog=example("process", "process --lane overflow"))
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in Lane]),
    default=Lane.MAIN.value,
    show_default=True,
    help="whose webhooks; each lane needs a process of its own",
)
@click.pass_obj
def command(environment: Environment, lane: str) -> None:
    """Turn raw webhooks into signals."""
    chosen = Lane(lane)
    if ROUTES[chosen].paced:
        # on a machine that is shared with the main lane, the main lane goes first
        os.nice(PACED_NICENESS)
    # here a bad file ends in lines for people; inside of the process they would be one line of its log
    settings = load_settings(ProcessorSettings, environment.values)
    load_indicators(*indicator_folders(settings.process.indicators_directory))
    serve = partial(serve_processors, lane=chosen)
    run_command(ROUTES[chosen].name, ProcessorSettings, serve, environment.values)


@asynccontextmanager
async def serve_processors(
    settings: ProcessorSettings, context: ProcessContext, lane: Lane = Lane.MAIN
) -> AsyncIterator[None]:
    route = ROUTES[lane]
    indicators = load_indicators(*indicator_folders(settings.process.indicators_directory))
    async with (
        open_publisher(settings.kafka, f"alerts-{route.name}") as publisher,
        open_directory(
            settings.kafka,
            context,
            f"alerts-{route.name}-directory",
            settings.process.state_file(f"{route.name}.snapshot"),
        ) as reader,
    ):
        work = ProcessorStage(
            reader.directory, indicators, publisher, context.metrics, context.clock, lane
        ).work
        stage = lane_stage(route, work, settings.process.overflow_rate_per_s, context.clock)
        async with run_stages(StreamSettings(route.group, settings.kafka), [stage], publisher, context):
            yield
