from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidPartitionsError,
    KafkaConnectionError,
    TopicAlreadyExistsError,
)

from runtime.settings import KafkaSettings, load_section
from runtime.topics import TopicPlan, TopicPlanError, create_topics, plan_topics
from schemas.plans import Plan
from schemas.topics import CAPTURES, DEADLETTERS, SIGNALS, TENANTS, TOPICS, Topic

LOCAL = {topic.name: topic.local_partitions for topic in TOPICS}
PRODUCTION = {topic.name: topic.partitions for topic in TOPICS}
PREMIUM, FREE = CAPTURES[Plan.PREMIUM], CAPTURES[Plan.FREE]


@pytest.mark.parametrize(("profile", "counts"), [("local", LOCAL), ("production", PRODUCTION)])
def test_an_empty_broker_gets_every_topic(profile: str, counts: dict[str, int]) -> None:
    """With the partition counts of the profile."""
    plan = plan_topics({}, profile)
    assert {topic.name: count for topic, count in plan.create.items()} == counts
    assert plan.grow == {}


def test_what_is_there_is_left_alone() -> None:
    """Repeating changes nothing, and topics of others are none of our business."""
    plan = plan_topics({**LOCAL, "somebody.elses": 99}, "local")
    assert (plan.create, plan.grow) == ({}, {})


def test_small_topics_grow() -> None:
    """From the local to the production counts; a topic that has its count stays out of it."""
    plan = plan_topics(LOCAL, "production")
    assert plan.create == {}
    assert {topic.name: count for topic, count in plan.grow.items()} == {
        name: count for name, count in PRODUCTION.items() if name != TENANTS.name
    }


def test_a_missing_topic_is_added_to_those_that_exist() -> None:
    """A new version's topic appears without a word about the rest."""
    existing = {name: count for name, count in LOCAL.items() if name != SIGNALS.name}
    plan = plan_topics(existing, "local")
    assert (plan.create, plan.grow) == ({SIGNALS: SIGNALS.local_partitions}, {})


def test_a_topic_never_shrinks() -> None:
    """Kafka cannot, and a program that deleted and made it again would lose records."""
    with pytest.raises(TopicPlanError, match=r"signals"):
        plan_topics({**LOCAL, SIGNALS.name: SIGNALS.local_partitions + 1}, "local")
    with pytest.raises(TopicPlanError, match="cannot shrink"):
        plan_topics(PRODUCTION, "local")


@pytest.mark.parametrize("existing", [{PREMIUM.name: 2, FREE.name: 4}, {**LOCAL, FREE.name: 3}])
def test_capture_topics_always_end_up_equal(existing: dict[str, int]) -> None:
    """A growth that was cut short is completed: a worker must hold the same partitions of every plan."""
    plan = plan_topics(existing, "local")
    grown = {topic.name: count for topic, count in {**plan.create, **plan.grow}.items()}
    assert {{**existing, **grown}[topic.name] for topic in CAPTURES.values()} == {4}


@pytest.mark.parametrize("name", [PREMIUM.name, FREE.name])
def test_a_capture_topic_bigger_than_its_equals_is_refused(name: str) -> None:
    """It cannot shrink, and to grow the others is for somebody to decide."""
    with pytest.raises(TopicPlanError, match=name):
        plan_topics({**LOCAL, name: 5}, "local")


def test_capture_topics_declared_unequal_are_refused() -> None:
    """A mistake in the table does not reach the broker."""
    odd = Topic(FREE.name, 59, 4, FREE.retention_ms)
    topics = tuple(odd if topic == FREE else topic for topic in TOPICS)
    with pytest.raises(TopicPlanError, match="declared with equal"):
        plan_topics({}, "production", topics)
    assert plan_topics({}, "local", topics).create[odd] == 4


def test_a_missing_capture_topic_joins_its_equals() -> None:
    """A creation that was cut short is completed."""
    plan = plan_topics({PREMIUM.name: 4}, "local")
    assert plan.create[FREE] == 4
    assert plan_topics({PREMIUM.name: 4}, "production").grow[PREMIUM] == 60


SETTINGS = load_section(
    KafkaSettings, {"KAFKA_BOOTSTRAP": "b:1", "KAFKA_TOPIC_PROFILE": "local", "KAFKA_REPLICATION": "1"}
)


class Admin:
    """Stands in for the broker's side; `surprise` is what it answers to the first change."""

    def __init__(self, counts: dict[str, int], surprise: Exception | None = None) -> None:
        self.counts = counts
        self._surprise = surprise

    async def list_topics(self) -> list[str]:
        return list(self.counts)

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [None] * self.counts[name]} for name in names]

    async def create_topics(self, new: list[Any]) -> Any:
        code = self._outcome()
        self.counts |= {topic.name: topic.num_partitions for topic in new}
        return SimpleNamespace(topic_errors=[(topic.name, code, "") for topic in new])

    async def create_partitions(self, grown: Mapping[str, Any]) -> Any:
        # as another process did it: the count is right, and our own request fails
        self.counts |= {name: partitions.total_count for name, partitions in grown.items()}
        return SimpleNamespace(topic_errors=[(name, self._outcome(), "") for name in grown])

    def _outcome(self) -> int:
        surprise, self._surprise = self._surprise, None
        if surprise is None:
            return 0
        if isinstance(surprise, TopicAlreadyExistsError):
            return int(surprise.errno)
        raise surprise


async def create(monkeypatch: pytest.MonkeyPatch, admin: Admin) -> TopicPlan:
    @asynccontextmanager
    async def open_admin(_settings: KafkaSettings) -> AsyncIterator[Admin]:
        yield admin

    monkeypatch.setattr("runtime.topics.open_admin", open_admin)
    monkeypatch.setattr("runtime.topics.backoff_s", lambda *_bounds: iter([0.0] * 5))
    return await create_topics(SETTINGS)


async def test_a_topic_made_by_another_process_in_between_is_as_good_as_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two roles that start together both succeed."""
    admin = Admin({}, TopicAlreadyExistsError())
    assert set((await create(monkeypatch, admin)).create) == set(TOPICS)
    assert admin.counts == LOCAL


async def test_a_topic_grown_by_another_process_in_between_is_as_good_as_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kafka refuses to grow to the present count; the second look finds nothing left to do."""
    admin = Admin({**LOCAL, DEADLETTERS.name: 1}, InvalidPartitionsError())
    assert await create(monkeypatch, admin) == TopicPlan({}, {})
    assert admin.counts == LOCAL


async def test_creating_waits_for_a_broker_but_not_for_a_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away comes back; one that refuses goes on refusing."""
    assert (await create(monkeypatch, Admin({}, KafkaConnectionError()))).create
    with pytest.raises(ClusterAuthorizationFailedError):
        await create(monkeypatch, Admin({}, ClusterAuthorizationFailedError()))
