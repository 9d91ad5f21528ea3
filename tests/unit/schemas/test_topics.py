import pytest

from schemas import topics
from schemas.plans import Plan
from schemas.topics import CAPTURES, DAY_MS, LARGE_MESSAGE_BYTES, MESSAGE_BYTES, TOPICS, Topic

DESIGN = {
    "webhooks.raw": (24, 4, 30),
    "webhooks.overflow": (8, 2, 30),
    "webhooks.replay": (8, 2, 7),
    "webhooks.refused": (4, 1, 7),
    "signals": (24, 4, 90),
    "signals.replay": (8, 2, 7),
    "signals.stored": (24, 4, 7),
    "captures.premium": (60, 4, 3),
    "captures.pro": (60, 4, 3),
    "captures.basic": (60, 4, 3),
    "captures.free": (60, 4, 3),
    "captures.events": (24, 4, 30),
    "tenants": (1, 1, None),
    "deadletters": (8, 2, 90),
}
"""Partitions in production and locally, days kept (None: compacted)."""


def test_the_topics_are_those_of_the_design() -> None:
    """Names, partitions and retention are a contract with subscribers and operators."""
    declared = {
        topic.name: (
            topic.partitions,
            topic.local_partitions,
            None if topic.retention_ms is None else topic.retention_ms // DAY_MS,
        )
        for topic in TOPICS
    }
    assert declared == DESIGN


def test_every_declared_topic_is_created() -> None:
    """A topic that is missing in the table would never exist on a broker."""
    declared = {value for value in vars(topics).values() if isinstance(value, Topic)} | set(CAPTURES.values())
    assert declared == set(TOPICS)
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_signals_and_dead_letters_take_large_messages(topic: Topic) -> None:
    """4 MiB where a whole alert travels with its parse or its reason, 1 MiB elsewhere."""
    large = topic.name.startswith("signals") or topic.name == "deadletters"
    assert topic.max_message_bytes == (LARGE_MESSAGE_BYTES if large else MESSAGE_BYTES)


def test_capture_topics_are_equal_in_every_profile() -> None:
    """Otherwise a worker would not hold the same partitions of every plan."""
    assert list(CAPTURES) == list(Plan)
    assert len({(topic.partitions, topic.local_partitions) for topic in CAPTURES.values()}) == 1


def test_only_tenants_are_compacted() -> None:
    """Everything else is kept for a time."""
    assert [topic.name for topic in TOPICS if topic.compacted] == ["tenants"]
