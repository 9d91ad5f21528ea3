"""The declared topics on a real broker of their own."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError
from click.testing import CliRunner

from runtime.backoff import backoff_s
from runtime.environment import Environment
from runtime.kafka import open_admin
from runtime.settings import KafkaSettings, load_section
from runtime.topics import TopicPlanError, create_topics
from runtime.topics_command import command
from schemas.topics import CAPTURES, DEADLETTERS, SIGNALS, TENANTS, TOPICS
from tests.support.broker import make_topics, partitions_of, topic_names
from tests.support.stack import kafka_node

LOCAL = {topic.name: topic.local_partitions for topic in TOPICS}


@pytest.fixture(scope="module")
def empty_broker() -> Iterator[str]:
    """A broker on which nobody made topics."""
    with kafka_node() as node:
        yield node.bootstrap


def settings(bootstrap: str, profile: str = "local", replication: str = "1") -> KafkaSettings:
    return load_section(
        KafkaSettings,
        {
            "KAFKA_BOOTSTRAP": bootstrap,
            "KAFKA_TOPIC_PROFILE": profile,
            "KAFKA_REPLICATION": replication,
        },
    )


async def counts(bootstrap: str) -> dict[str, int]:
    names = await topic_names(bootstrap)
    return {name: len(await partitions_of(bootstrap, name)) for name in names if not name.startswith("__")}


async def configuration(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """The settings of a topic as the broker has them."""
    response = (await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))[0]
    return {entry[0]: entry[1] for entry in response.resources[0][4]}


async def test_topics_are_made_once_and_only_what_is_missing(empty_broker: str) -> None:
    """A creation that was cut short is completed, a small topic grows, repeating does nothing."""
    with pytest.raises(InvalidReplicationFactorError):
        await create_topics(settings(empty_broker, replication="3"))
    await make_topics(empty_broker, **{DEADLETTERS.name: 1, "somebody.elses": 1})
    plan = await create_topics(settings(empty_broker))
    assert plan.grow == {DEADLETTERS: DEADLETTERS.local_partitions}
    assert set(plan.create) == set(TOPICS) - {DEADLETTERS}
    assert await counts(empty_broker) == {**LOCAL, "somebody.elses": 1}
    again = await create_topics(settings(empty_broker))
    assert (again.create, again.grow) == ({}, {})


async def test_two_creators_at_once_are_as_good_as_one(empty_broker: str) -> None:
    """Replicas of a role may start together; a topic the other one made is no failure."""
    await asyncio.gather(*(create_topics(settings(empty_broker)) for _ in range(3)))
    assert LOCAL.items() <= (await counts(empty_broker)).items()


async def test_sizes_and_retention_are_those_declared(empty_broker: str) -> None:
    """As the broker applies them, not as we sent them."""
    await create_topics(settings(empty_broker))
    async with open_admin(settings(empty_broker)) as admin:
        signals = await configuration(admin, SIGNALS.name)
        tenants = await configuration(admin, TENANTS.name)
    assert signals["max.message.bytes"] == str(SIGNALS.max_message_bytes)
    assert signals["retention.ms"] == str(SIGNALS.retention_ms)
    assert signals["cleanup.policy"] == "delete"
    assert tenants["cleanup.policy"] == "compact"


def test_the_command_says_what_it_did(empty_broker: str) -> None:
    """People see that nothing was left to do."""
    environment = Environment(
        {
            "KAFKA_BOOTSTRAP": empty_broker,
            "KAFKA_TOPIC_PROFILE": "local",
            "KAFKA_REPLICATION": "1",
        }
    )
    runner = CliRunner()
    runner.invoke(command, ["create"], obj=environment)
    result = runner.invoke(command, ["create"], obj=environment)
    assert (result.exit_code, result.output) == (0, f"{len(TOPICS)} topics in place\n")
    listed = runner.invoke(command, ["list"], obj=environment)
    assert len(listed.output.splitlines()) == len(TOPICS)
    assert all(topic.name in listed.output for topic in CAPTURES.values())


async def test_a_topic_that_is_too_large_stops_the_command(empty_broker: str) -> None:
    """Somebody made it larger than we declare: a person must look at it first."""
    # the last test of this broker: it cannot be undone
    async with open_admin(settings(empty_broker)) as admin:
        await admin.create_partitions({TENANTS.name: NewPartitions(2)})
        async with asyncio.timeout(30):
            for wait_s in backoff_s(0.05):
                if len(await partitions_of(empty_broker, TENANTS.name)) == 2:
                    break
                await asyncio.sleep(wait_s)
    with pytest.raises(TopicPlanError, match="tenants"):
        await create_topics(settings(empty_broker))
