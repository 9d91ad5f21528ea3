"""`alerts process`: the processors of the main lane as a process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import click

from processors.indicators import load_indicators
from processors.settings import ProcessorSettings
from processors.stage import STAGE, ProcessorStage
from runtime.directory import open_directory
from runtime.environment import Environment
from runtime.process import ProcessContext, run_command
from runtime.publisher import open_publisher
from runtime.streams.service import Stage, StreamSettings, run_stages
from schemas.topics import WEBHOOKS_RAW

GROUP: Final = "alerts.process.main"


@click.command("process")
@click.pass_obj
def command(environment: Environment) -> None:
    """Turn raw webhooks into signals."""
    run_command("process", ProcessorSettings, serve_processors, environment.values)


@asynccontextmanager
async def serve_processors(settings: ProcessorSettings, context: ProcessContext) -> AsyncIterator[None]:
    indicators = load_indicators(Path(str(resources.files("processors") / "indicators")))
    async with (
        open_publisher(settings.kafka, "alerts-process") as publisher,
        open_directory(settings.kafka, context, "alerts-process-directory") as reader,
    ):
        work = ProcessorStage(reader.directory, indicators, publisher, context.metrics, context.clock).work
        stage = Stage(STAGE, (WEBHOOKS_RAW.name,), work)
        async with run_stages(StreamSettings(GROUP, settings.kafka), [stage], publisher, context):
            yield
