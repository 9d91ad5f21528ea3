"""The embedded broker as a real process."""

import asyncio
import signal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.errors import NotReadyError
from deploy.local.kafka import check_kafka
from schemas.topics import LARGE_MESSAGE_BYTES
from tests.support.stack import kafka_node, running


async def test_a_running_broker_answers(kafka_bootstrap: str) -> None:
    """The check returns for a broker that is up."""
    await check_kafka(kafka_bootstrap)
