import pytest

from runtime.topics import TopicPlanError, plan_topics
from schemas.plans import Plan
from schemas.topics import CAPTURES, SIGNALS, TENANTS, TOPICS, Topic

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
def test_unequal_capture_topics_are_refused(existing: dict[str, int]) -> None:
    """A worker would no longer hold the same partitions of every plan: somebody must look at it."""
    with pytest.raises(TopicPlanError, match="unequal"):
        plan_topics(existing, "local")


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
