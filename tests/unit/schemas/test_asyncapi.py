import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from ingest.webhook import MAX_BODY_BYTES
from schemas.asyncapi import asyncapi_document
from schemas.documents import read_examples
from schemas.messages import PARTICIPANTS
from schemas.topics import TOPICS

OFFICIAL = Draft7Validator(json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text()))
DOCUMENT = asyncapi_document(read_examples())


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_the_document_is_asyncapi_3() -> None:
    """By the official schema of such documents, Kafka's bindings included."""
    assert [error.message for error in OFFICIAL.iter_errors(DOCUMENT)] == []


@pytest.mark.parametrize(
    "path",
    [("asyncapi",), ("info",), ("servers", "kafka", "host"), ("operations", "sink.send.tenants", "action")],
)
def test_the_official_schema_would_tell(path: tuple[str, ...]) -> None:
    """A document without a part that it must have is refused."""
    broken = deepcopy(DOCUMENT)
    node = broken
    for part in path[:-1]:
        node = node[part]
    del node[path[-1]]
    assert not OFFICIAL.is_valid(broken)


def test_wrong_bindings_are_told() -> None:
    """The official schema looks into them."""
    broken = deepcopy(DOCUMENT)
    broken["channels"]["signals"]["bindings"]["kafka"]["partitions"] = "many"
    assert not OFFICIAL.is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    """Inside the document: it is complete in one file."""
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        assert reference.startswith("#/")
        resolved(reference)


def test_channels_are_the_topics() -> None:
    """With the numbers by which topics are created."""
    assert set(DOCUMENT["channels"]) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        binding = DOCUMENT["channels"][topic.name]["bindings"]["kafka"]
        assert (binding["topic"], binding["partitions"]) == (topic.name, topic.partitions)
        configuration = binding["topicConfiguration"]
        assert configuration["max.message.bytes"] == topic.max_message_bytes
        assert configuration.get("retention.ms") == topic.retention_ms
        assert configuration["cleanup.policy"] == ["compact" if topic.compacted else "delete"]


def test_a_channel_has_its_record_headers_and_key() -> None:
    """As for `signals`, which subscribers read."""
    channel = DOCUMENT["channels"]["signals"]
    message = resolved(channel["messages"]["signal"]["$ref"])
    assert message["contentType"] == "application/json"
    assert message["payload"] == {"$ref": "#/components/schemas/Signal"}
    assert {"ce_id", "signal_id"} <= set(message["headers"]["required"])
    assert message["bindings"]["kafka"]["key"]["format"] == "uuid"
    assert [example["name"] for example in message["examples"]][:2] == [
        "signals: labelled_text",
        "signals: json",
    ]


def test_a_webhook_is_bytes() -> None:
    """As many as the ingress accepts."""
    message = DOCUMENT["components"]["messages"]["webhook"]
    assert message["contentType"] == "application/octet-stream"
    assert (message["payload"]["format"], message["payload"]["maxLength"]) == ("binary", MAX_BODY_BYTES)


def test_operations_say_who_does_what() -> None:
    """One for each topic of each participant."""
    expected = {
        f"{role.name}.{action}.{topic.name}"
        for role in PARTICIPANTS
        for action, topics in (("send", role.sends), ("receive", role.receives))
        for topic in topics
    }
    assert set(DOCUMENT["operations"]) == expected
    assert DOCUMENT["operations"]["subscriber.receive.signals"]["action"] == "receive"
    assert resolved(DOCUMENT["operations"]["ingest.send.webhooks.raw"]["channel"]["$ref"])["address"] == (
        "webhooks.raw"
    )
