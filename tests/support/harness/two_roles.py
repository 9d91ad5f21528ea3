"""A plain app with two agents, on TOPIC and TOPIC-quick: `python -m tests.support.harness.two_roles SPEC`."""

import asyncio
import sys
import tempfile
import warnings
from typing import Any

import faust
import msgspec

from runtime.postgres import open_pool
from runtime.process import stop_signals
from runtime.settings import PostgresSettings
from tests.support.harness.effect import Effect, say
from tests.support.harness.spec import WorkerSpec
from tests.support.harness.worker import plain_settings


def quick_of(topic: str) -> str:
    return f"{topic}-quick"


async def run_plain(spec: WorkerSpec) -> None:
    postgres = PostgresSettings.model_validate({"url": spec.database_url})
    with tempfile.TemporaryDirectory() as folder:
        async with open_pool(postgres, spec.name) as pool, stop_signals() as stop:
            app = faust.App(spec.group, **plain_settings(spec, folder))
            effect = Effect(pool, spec.name)
            for name in (spec.topic, quick_of(spec.topic)):

                async def each(stream: Any) -> None:
                    async for event in stream.events():
                        await effect.apply([event.value])

                app.agent(app.topic(name, value_type=bytes), name=name)(each)
            app.finalize()
            await app.start()
            say("started")
            await stop.wait()
            await app.stop()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(run_plain(msgspec.json.decode(sys.argv[1], type=WorkerSpec)))
