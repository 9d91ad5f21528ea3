"""What aiokafka's clients do about a connection that was reset before they know."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from runtime.kafka import create_consumer, stop_client
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
