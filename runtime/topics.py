"""Creates the declared topics. Idempotent; refuses what would break order or co-partitioning."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import InvalidPartitionsError, TopicAlreadyExistsError, for_code

from runtime.backoff import backoff_s
from runtime.errors import Failure, FatalError, classify
from runtime.kafka import open_admin
from runtime.logging import get_logger
from runtime.settings import KafkaSettings
from schemas.topics import CAPTURES, TOPICS, Topic

log = get_logger(__name__)

_CAPTURE_NAMES: Final = frozenset(topic.name for topic in CAPTURES.values())


class TopicPlanError(FatalError):
    """The topics that exist do not fit the declared ones and must not be changed by a program."""


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What has to be done: topics to create and topics to grow, with their partition counts."""

    create: dict[Topic, int]
    grow: dict[Topic, int]


def plan_topics(existing: dict[str, int], profile: str, topics: tuple[Topic, ...] = TOPICS) -> TopicPlan:
    """Compare the partition counts that exist with the declared ones. Pure.

    Raises `TopicPlanError` when a topic would shrink, or when the capture topics would end up unequal.
    """
    wanted = {topic: _partitions(topic, profile) for topic in topics}
    too_many = [topic.name for topic, count in wanted.items() if existing.get(topic.name, 0) > count]
    if too_many:
        raise TopicPlanError(f"topics have more partitions than declared and cannot shrink: {too_many}")
    _check_capture_topics(wanted)
    create = {topic: count for topic, count in wanted.items() if topic.name not in existing}
    grow = {topic: count for topic, count in wanted.items() if 0 < existing.get(topic.name, 0) < count}
    return TopicPlan(create, grow)


async def create_topics(settings: KafkaSettings) -> TopicPlan:
    """Bring the broker's topics to the declared state; returns what was done, once the broker shows it.

    Waits without limit for a broker that is away or still starting. Raises `TopicPlanError`, or the Kafka
    error of a broker that refuses.
    """
    for wait_s in backoff_s():
        try:
            return await _create_topics(settings)
        except Exception as error:
            # a topic that cannot grow to its count has it by now: another process was quicker
            if classify(error) is not Failure.TRANSIENT and not isinstance(error, InvalidPartitionsError):
                raise
            log.info("waiting_for_kafka", error=type(error).__name__)
        await asyncio.sleep(wait_s)
    raise AssertionError("backoff never ends")


async def _create_topics(settings: KafkaSettings) -> TopicPlan:
    async with open_admin(settings) as admin:
        existing = await _existing(admin)
        plan = plan_topics(existing, settings.topic_profile)
        if plan.create:
            new = [_new_topic(topic, count, settings.replication) for topic, count in plan.create.items()]
            _raise_for_errors(await admin.create_topics(new))
        if plan.grow:
            grown = {topic.name: NewPartitions(count) for topic, count in plan.grow.items()}
            _raise_for_errors(await admin.create_partitions(grown))
        await _until_in_place(admin, settings.topic_profile)
    return plan


async def _until_in_place(admin: AIOKafkaAdminClient, profile: str) -> None:
    """The controller answers before the brokers know what it did."""
    for wait_s in backoff_s(0.05, 1.0):
        if plan_topics(await _existing(admin), profile) == TopicPlan({}, {}):
            return
        await asyncio.sleep(wait_s)


def _partitions(topic: Topic, profile: str) -> int:
    return topic.local_partitions if profile == "local" else topic.partitions


def _check_capture_topics(wanted: dict[Topic, int]) -> None:
    # Nothing shrinks, so what exists unequal, after a growth that was cut short, ends up equal too.
    if len({count for topic, count in wanted.items() if topic.name in _CAPTURE_NAMES}) > 1:
        raise TopicPlanError("the capture topics must be declared with equal partition counts")


async def _existing(admin: AIOKafkaAdminClient) -> dict[str, int]:
    names = set(await admin.list_topics())
    declared = [topic.name for topic in TOPICS if topic.name in names]
    if not declared:
        return {}
    described = await admin.describe_topics(declared)
    return {item["topic"]: len(item["partitions"]) for item in described}


def _new_topic(topic: Topic, partitions: int, replication: int) -> NewTopic:
    config = {"max.message.bytes": str(topic.max_message_bytes)}
    if topic.compacted:
        config |= {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1"}
    else:
        config |= {"retention.ms": str(topic.retention_ms)}
    if topic.broker_time:
        config |= {"message.timestamp.type": "LogAppendTime"}
    if replication > 1:
        config |= {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
    return NewTopic(topic.name, partitions, replication, topic_configs=config)


def _raise_for_errors(response: Any) -> None:
    # A topic that another process created in between is as good as ours.
    for item in response.topic_errors:
        error = for_code(item[1])
        if item[1] != 0 and error is not TopicAlreadyExistsError:
            raise error(item[0])
