"""A worker that publishes to `TOPIC-out`: `python -m tests.support.harness.publishing SPEC`.

The one with the name `breaking` spoils the sequence of its idempotent producer before the event `fault`: from
there on the broker refuses all that it sends.
"""

import asyncio
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import faust
import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from faust.transport.drivers import aiokafka as driver

from runtime.kafka import create_producer, stop_client
from runtime.process import ProcessContext, ProcessSettings, run_role, stop_signals
from runtime.publisher import KafkaPublisher, Message
from runtime.settings import KafkaSettings, LoggingSettings, OperationsSettings
from runtime.streams.record import StreamRecord
from runtime.streams.service import Stage, StreamSettings, run_stages
from tests.support.harness.effect import say
from tests.support.harness.spec import Event, WorkerSpec
from tests.support.harness.worker import plain_settings

_JUMP = 1000


def output_of(topic: str) -> str:
    return f"{topic}-out"


class IdempotentProducer(driver.Producer):  # type: ignore[misc]
    """Faust's own is not idempotent: the same fault could not happen to it."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class IdempotentTransport(driver.Transport):  # type: ignore[misc]
    Producer = IdempotentProducer


class IdempotentApp(faust.App):  # type: ignore[misc]
    def _new_producer_transport(self) -> IdempotentTransport:
        return IdempotentTransport(self.conf.broker_producer, self)

    def _new_transport(self) -> IdempotentTransport:
        return IdempotentTransport(self.conf.broker_consumer, self)


def spoil(spec: WorkerSpec, value: bytes, producer: AIOKafkaProducer) -> None:
    """Make the broker answer OutOfOrderSequenceNumber from now on, if the event says so."""
    event_id = msgspec.json.decode(value, type=Event).id
    say(f"began {event_id}")
    if spec.name == "breaking" and event_id == "fault":
        producer._txn_manager.increment_sequence_number(TopicPartition(output_of(spec.topic), 0), _JUMP)


async def run_plain(spec: WorkerSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with stop_signals() as stop:
            app = IdempotentApp(spec.group, **plain_settings(spec, folder))
            output = app.topic(output_of(spec.topic), value_type=bytes)

            async def forward(stream: Any) -> None:
                async for event in stream.events():
                    spoil(spec, event.value, app.producer._producer)
                    await output.send(value=event.value)

            app.agent(app.topic(spec.topic, value_type=bytes))(forward)
            app.finalize()
            await app.start()
            say("started")
            await stop.wait()
            await app.stop()


@asynccontextmanager
async def our_role(spec: WorkerSpec, context: ProcessContext) -> AsyncIterator[None]:
    kafka = KafkaSettings.model_validate({"bootstrap": spec.bootstrap})
    producer = create_producer(kafka, spec.name)
    await producer.start()
    publisher = KafkaPublisher(producer)

    async def work(records: Sequence[StreamRecord]) -> None:
        for record in records:
            spoil(spec, record.value, producer)
        await publisher.publish([Message(output_of(spec.topic), b"key", record.value) for record in records])

    try:
        stages = [Stage("harness", (spec.topic,), work)]
        async with run_stages(StreamSettings(spec.group, kafka), stages, publisher, context):
            say("started")
            yield
    finally:
        await stop_client(producer.stop())


def main(text: str) -> int:
    warnings.simplefilter("ignore")
    spec = msgspec.json.decode(text, type=WorkerSpec)
    if spec.flavour == "plain":
        asyncio.run(run_plain(spec))
        return 0
    logging = LoggingSettings.model_validate({"format": "json"})
    process = ProcessSettings(spec.name, logging, OperationsSettings.model_validate({}))
    return run_role(process, lambda context: our_role(spec, context))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
