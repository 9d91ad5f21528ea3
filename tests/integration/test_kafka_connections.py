"""What aiokafka's clients do about a connection that was reset before they know, and without their tasks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from runtime.errors import FatalError
from runtime.kafka import create_consumer, create_producer, is_broken, stop_client
from runtime.publisher import KafkaPublisher, Message
from runtime.settings import KafkaSettings
from tests.support.proxy import address_in, cut_proxy


@asynccontextmanager
async def with_lost_connection(bootstrap: str) -> AsyncIterator[tuple[Any, Any]]:
    """A client of one of our consumers, and its connection: reset, and the task that reads it asleep.

    That task sees the reset within two turns of the loop. Here it never does, so that the turn between stays.
    """
    consumer = create_consumer(KafkaSettings.model_validate({"bootstrap": bootstrap}), "test")
    try:
        await consumer.start()
        client = consumer._client
        node = client.get_random_node()
        async with cut_proxy(f"kafka://{bootstrap}") as (proxy, url):
            client.cluster._brokers[node] = BrokerMetadata(node, *address_in(url), None)
            connection = await client._get_conn(node)
            connection._read_task.cancel()
            proxy.reset()
            async with asyncio.timeout(5):
                while not connection._writer.transport.is_closing():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            yield client, connection
    finally:
        await stop_client(consumer.stop())


async def test_a_reset_connection_takes_no_request(kafka_bootstrap: str) -> None:
    """It fails as the broken connection that it is, and is closed; uvloop says `RuntimeError`."""
    async with with_lost_connection(kafka_bootstrap) as (_client, connection):
        assert connection.connected()
        with pytest.raises(KafkaConnectionError):
            connection.send(MetadataRequest(None))
        assert not connection.connected()


async def test_metadata_stays_fresh_after_a_reset(kafka_bootstrap: str) -> None:
    """Heartbeats and commits wait for the metadata after an outage: the task that fetches it must live."""
    async with with_lost_connection(kafka_bootstrap) as (client, connection), asyncio.timeout(10):
        assert connection.connected()
        assert not await client.force_metadata_update()
        assert await client.force_metadata_update()


@pytest.mark.parametrize("of_it", ["_sender.sender_task", "client._sync_task"])
async def test_a_producer_without_one_of_its_tasks_ends_the_process(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, of_it: str
) -> None:
    """It would time out for ever, which looks like a broker that is away."""
    monkeypatch.setattr("runtime.publisher.PUBLISH_DEADLINE_S", 0.5)
    producer = create_producer(KafkaSettings.model_validate({"bootstrap": kafka_bootstrap}), "test")
    await producer.start()
    publisher = KafkaPublisher(producer)
    try:
        with pytest.raises(TimeoutError):
            await publisher.publish([Message("unknown", None, b"value")])
        attrgetter(of_it)(producer).cancel()
        with pytest.raises(FatalError):
            await publisher.publish([Message("unknown", None, b"value")])
    finally:
        await stop_client(producer.stop())
    assert not is_broken(producer)
