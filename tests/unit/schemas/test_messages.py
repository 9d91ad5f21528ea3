"""The table of who sends and reads what agrees with the code."""

import ast
from pathlib import Path

import pytest

from schemas import topics
from schemas.messages import MESSAGE_KINDS, PARTICIPANTS, kind_of
from schemas.records import Record
from schemas.topics import TOPICS, Topic

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {
    "ingest": "ingest",
    "processors": "process",
    "sinks": "sink",
    "capture": "capture",
    "api": "api",
}
"""Package → participant."""


def used_topics(package: str) -> set[Topic]:
    """The topics whose constants a package imports."""
    found: set[Topic] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "schemas.topics":
                for alias in node.names:
                    value = getattr(topics, alias.name)
                    found |= {value} if isinstance(value, Topic) else set()
                    found |= set(value.values()) if isinstance(value, dict) else set()
    return found


def test_every_topic_carries_one_kind_of_message() -> None:
    """A topic that nobody described, or twice, has no contract."""
    carried = [topic for kind in MESSAGE_KINDS for topic in kind.topics]
    assert sorted(topic.name for topic in carried) == sorted(topic.name for topic in TOPICS)
    assert all(topic in kind_of(topic).topics for topic in TOPICS)


def test_every_record_is_a_message_or_part_of_one() -> None:
    """A record that no message has would never be published with a schema."""
    ours = {kind for kind in Record.__subclasses__() if kind.__module__ == Record.__module__}
    parts = {"Source", "Picture"}
    assert {kind.record.__name__ for kind in MESSAGE_KINDS if kind.record} | parts == {
        kind.__name__ for kind in ours
    }


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_is_sent_to_and_read(topic: Topic) -> None:
    """A topic without either end is a mistake in the table."""
    assert [role.name for role in PARTICIPANTS if topic in role.sends]
    assert [role.name for role in PARTICIPANTS if topic in role.receives]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_knows_what_a_role_uses(package: str) -> None:
    """Every topic that a role's package imports is one that the table lets it send to or receive from."""
    role = next(role for role in PARTICIPANTS if role.name == PACKAGES[package])
    names = {topic.name for topic in (*role.sends, *role.receives)}
    assert {topic.name for topic in used_topics(package)} <= names
