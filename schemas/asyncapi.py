"""The AsyncAPI 3 document of all topics, made from the declarations. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.header_schemas import headers_of, key_of
from schemas.messages import MESSAGE_KINDS, PARTICIPANTS, MessageKind, Participant, kind_of
from schemas.record_schemas import Schema, record_components
from schemas.records import SCHEMA_VERSION
from schemas.topics import TOPICS, Topic

ASYNCAPI: Final = "3.0.0"
BINDING: Final = "0.5.0"
WEBHOOK_BODY_BYTES: Final = 256 * 1024
_REPLICAS: Final = 3

Example = Mapping[str, Any]


def asyncapi_document(examples: Mapping[str, Sequence[Example]]) -> Schema:
    """`examples` are those of each topic, by its name. The document's version is that of the schemas."""
    return {
        "asyncapi": ASYNCAPI,
        "id": "urn:alerts",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": {"kafka": _server()},
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": _operations(),
        "components": {
            "messages": {kind.name: _message(kind, examples) for kind in MESSAGE_KINDS},
            "schemas": record_components("#/components/schemas/{name}"),
        },
    }


def _info() -> Schema:
    return {
        "title": "Alerts",
        "version": str(SCHEMA_VERSION),
        "description": (
            "Every topic of the alert pipeline. Subscribers downstream read `signals`; the other topics are "
            "the pipeline's own. Delivery is at least once: keep the id. Readers ignore fields and headers "
            "that they do not know."
        ),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": role.name, "description": role.summary} for role in PARTICIPANTS],
    }


def _server() -> Schema:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "The cluster that `KAFKA_BOOTSTRAP` names.",
        "variables": {
            "bootstrap": {"default": "127.0.0.1:9092", "description": "One broker's host and port."}
        },
    }


def _channel(topic: Topic) -> Schema:
    kind = kind_of(topic)
    return {
        "address": topic.name,
        "description": kind.summary,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {kind.name: {"$ref": f"#/components/messages/{kind.name}"}},
        "bindings": {"kafka": _channel_binding(topic)},
    }


def _channel_binding(topic: Topic) -> Schema:
    """Production's counts; a laptop has `x-local-partitions` and one replica."""
    configuration: Schema = {
        "cleanup.policy": ["compact" if topic.compacted else "delete"],
        "max.message.bytes": topic.max_message_bytes,
    }
    if topic.retention_ms is not None:
        configuration["retention.ms"] = topic.retention_ms
    return {
        "topic": topic.name,
        "partitions": topic.partitions,
        "replicas": _REPLICAS,
        "topicConfiguration": configuration,
        "bindingVersion": BINDING,
        "x-local-partitions": topic.local_partitions,
        "x-message-timestamp-type": "LogAppendTime" if topic.broker_time else "CreateTime",
    }


def _operations() -> Schema:
    return {
        f"{role.name}.{action}.{topic.name}": _operation(role, action, topic)
        for role in PARTICIPANTS
        for action, topics in (("send", role.sends), ("receive", role.receives))
        for topic in topics
    }


def _operation(role: Participant, action: str, topic: Topic) -> Schema:
    verb = "sends to" if action == "send" else "receives from"
    pointer = topic.name.replace("~", "~0").replace("/", "~1")
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{pointer}"},
        "summary": f"{role.name} {verb} {topic.name}",
        "tags": [{"name": role.name}],
        "messages": [{"$ref": f"#/channels/{pointer}/messages/{kind_of(topic).name}"}],
    }


def _message(kind: MessageKind, examples: Mapping[str, Sequence[Example]]) -> Schema:
    return {
        "name": kind.event_type or kind.name,
        "title": kind.name,
        "summary": kind.summary,
        "contentType": kind.content_type,
        "headers": headers_of(kind),
        "payload": _payload(kind),
        "bindings": {"kafka": {"key": key_of(kind), "bindingVersion": BINDING}},
        "examples": [
            _example(topic, example) for topic in kind.topics for example in examples.get(topic.name, ())
        ],
    }


def _payload(kind: MessageKind) -> Schema:
    if kind.record:
        return {"$ref": f"#/components/schemas/{kind.record.__name__}"}
    payload: Schema = {"type": "string", "format": "binary", "description": "Bytes, as they came."}
    return {**payload, "maxLength": WEBHOOK_BODY_BYTES} if kind.event_type else payload


def _example(topic: Topic, example: Example) -> Schema:
    return {
        "name": f"{topic.name}: {example['name']}",
        "summary": example["summary"],
        "headers": example["headers"],
        "payload": example["payload"],
    }
