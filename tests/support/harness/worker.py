"""A process that consumes a topic: `python -m tests.support.harness.worker SPEC`, SPEC a JSON `WorkerSpec`.

It says `started`, `began ID`, `done ID`, `failed ID`, `cancelled ID` and `stopped`, a line each.
"""

import asyncio
import faulthandler
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import faust
import msgspec

from runtime.postgres import open_pool
from runtime.process import ProcessContext, ProcessSettings, run_role, stop_signals
from runtime.publisher import open_publisher
from runtime.settings import KafkaSettings, LoggingSettings, OperationsSettings, PostgresSettings
from runtime.streams.record import StreamRecord
from runtime.streams.service import Stage, StreamSettings, run_stages
from tests.support.harness.effect import Effect, say
from tests.support.harness.spec import Form, WorkerSpec

BATCH: Final = 4
JOBS: Final = 3
SESSION_TIMEOUT_S: Final = 6.0
"""Of both flavours, instead of 60 s and 15 s. Brokers allow no less."""

Agent = Callable[[Any], Awaitable[None]]


def run_plain(spec: WorkerSpec) -> int:
    """What anybody would write after Faust's documentation."""
    asyncio.run(_run_plain(spec))
    return 0


async def _run_plain(spec: WorkerSpec) -> None:
    postgres = PostgresSettings.model_validate({"url": spec.database_url})
    with tempfile.TemporaryDirectory() as folder:
        async with open_pool(postgres, spec.name) as pool, stop_signals() as stop:
            app = faust.App(spec.group, **plain_settings(spec, folder))
            topic = app.topic(spec.topic, value_type=bytes)
            agent = _plain_agent(Effect(pool, spec.name), spec.form)
            app.agent(topic, concurrency=JOBS if spec.form == "jobs" else 1)(agent)
            app.finalize()
            await app.start()
            say("started")
            await stop.wait()
            await app.stop()


def plain_settings(spec: WorkerSpec, folder: str) -> dict[str, Any]:
    usual = {
        "broker": f"kafka://{spec.bootstrap}",
        "broker_commit_interval": 0.5,
        "broker_heartbeat_interval": 1.0,
        "broker_session_timeout": SESSION_TIMEOUT_S,
        "datadir": folder,
        "store": "memory://",
        "topic_disable_leader": True,
        "value_serializer": "raw",
        "web_enabled": False,
    }
    return {**usual, **spec.faust}


def _plain_agent(effect: Effect, form: Form) -> Agent:
    async def each(stream: Any) -> None:
        async for event in stream.events():
            await effect.apply([event.value])

    async def batches(stream: Any) -> None:
        async for batch in stream.take(BATCH, within=0.2):
            await effect.apply(batch)

    return batches if form == "batch" else each


def run_ours(spec: WorkerSpec) -> int:
    """As a role runs."""
    process = ProcessSettings(
        spec.name,
        LoggingSettings.model_validate({"format": "json"}),
        OperationsSettings.model_validate({}),
    )

    def role(context: ProcessContext) -> Any:
        return _our_role(spec, context)

    return run_role(process, role)


@asynccontextmanager
async def _our_role(spec: WorkerSpec, context: ProcessContext) -> AsyncIterator[None]:
    kafka = KafkaSettings.model_validate({"bootstrap": spec.bootstrap, "group_instance_id": spec.instance_id})
    postgres = PostgresSettings.model_validate({"url": spec.database_url})
    async with open_pool(postgres, spec.name) as pool, open_publisher(kafka, spec.name) as publisher:
        stage = _our_stage(spec, Effect(pool, spec.name))
        settings = StreamSettings(spec.group, kafka, session_timeout_s=SESSION_TIMEOUT_S)
        async with run_stages(settings, [stage], publisher, context):
            say("started")
            yield


def _our_stage(spec: WorkerSpec, effect: Effect) -> Stage:
    async def work(records: Sequence[StreamRecord]) -> None:
        await effect.apply([record.value for record in records])

    batch = BATCH if spec.form == "batch" else 1
    return Stage("harness", (spec.topic,), work, batch=batch, parallel=JOBS if spec.form == "jobs" else 1)


def main(text: str) -> int:
    warnings.simplefilter("ignore")
    faulthandler.enable()
    spec = msgspec.json.decode(text, type=WorkerSpec)
    code = run_plain(spec) if spec.flavour == "plain" else run_ours(spec)
    say("stopped")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
