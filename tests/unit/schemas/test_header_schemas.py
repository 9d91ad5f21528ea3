from datetime import UTC, datetime
from uuid import UUID

import pytest

from runtime.deadletter_postmark import LOST_HEADERS, History, history_headers
from runtime.deadletters import DeadLetter, deadletter_message
from runtime.errors import InvalidError
from schemas.documents import read_examples
from schemas.header_schemas import header_schemas, key_of
from schemas.headers import (
    METADATA_BYTES,
    QUERY_BYTES,
    CloudEvent,
    WebhookMetadata,
    event_headers,
    traceparent,
    webhook_headers,
)
from schemas.messages import MESSAGE_KINDS, MessageKind
from schemas.topics import Topic
from tests.support.contracts import faults, validator
from tests.support.records import record

SIGNAL_ID = UUID("019cebc1-2345-7000-8000-000000000001")
NOW = datetime(2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC)
METADATA = WebhookMetadata(
    SIGNAL_ID, NOW, "127.0.0.1", "agent", "text/plain", "chart=Ab3dE9xZ", 7, 42, captures_wanted=True
)
HISTORY = history_headers(History(NOW, 4, 1))
BY_NAME = {kind.name: kind for kind in MESSAGE_KINDS}
TOPICS_OF_KINDS = [(kind, topic) for kind in MESSAGE_KINDS for topic in kind.topics]


def written(kind: MessageKind) -> dict[str, str]:
    """The headers as the code writes them."""
    trace = traceparent(SIGNAL_ID, 7)
    event = CloudEvent("id", str(kind.event_type), "ingest", NOW, kind.content_type, trace)
    headers = event_headers(event)
    if "webhook" in kind.headers:
        headers += webhook_headers(METADATA)
    return {name: value.decode() for name, value in headers}


@pytest.mark.parametrize("name", [kind.name for kind in MESSAGE_KINDS if kind.event_type])
def test_what_the_code_writes_is_what_the_schema_says(name: str) -> None:
    """Not a header more or less, and each of them valid."""
    schema = header_schemas()[name]
    headers = written(BY_NAME[name])
    assert set(headers) == set(schema["properties"]) - {name for name, _value in HISTORY}
    assert set(headers) - {"traceparent", "captures_wanted"} == set(schema["required"])
    assert faults(schema, headers) == []


@pytest.mark.parametrize("name", [kind.name for kind in MESSAGE_KINDS if kind.event_type])
def test_what_was_put_back_says_so(name: str) -> None:
    """Wherever a record died, it carries its history when it comes again."""
    schema = header_schemas()[name]
    history = {name: value.decode() for name, value in HISTORY}
    assert history.keys() <= schema["properties"].keys()
    assert faults(schema, {**written(BY_NAME[name]), **history}) == []


def test_dead_letters_say_what_the_schema_says() -> None:
    """Not a header more or less, and the headers of the record itself may be anything."""
    letter = DeadLetter(record(3), "sink", InvalidError("bad_key"), 2, NOW)
    headers = {name: value.decode() for name, value in deadletter_message(letter).headers}
    schema = header_schemas()["dead_letter"]
    ours = {name for name in headers if name.startswith("dl_")}
    assert ours | {LOST_HEADERS} == set(schema["properties"])
    assert set(schema["required"]) <= set(headers)
    assert faults(schema, headers) == []


def test_the_bounds_are_those_of_the_code() -> None:
    """Written once in the code, and once for subscribers."""
    fields = header_schemas()["webhook"]["properties"]
    assert fields["query"]["maxLength"] == QUERY_BYTES
    for name in ("client_address", "user_agent", "webhook_content_type"):
        assert fields[name]["maxLength"] == METADATA_BYTES


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ce_type", "alerts.tenant"),
        ("ce_specversion", "0.3"),
        ("ce_source", "processors"),
        ("ce_time", "2026-03-14T09:26:53"),
        ("content-type", "text/plain"),
        ("schema_version", "one"),
        ("traceparent", "00-0-0-01"),
        ("signal_id", "42"),
        ("tenant_revision", "-1"),
        ("query", "q" * 2049),
    ],
)
def test_what_the_headers_of_a_signal_must_not_be(header: str, value: str) -> None:
    """Subscribers find such records with any JSON Schema library."""
    assert faults(header_schemas()["signal"], {**written(BY_NAME["signal"]), header: value})


def test_every_header_is_described() -> None:
    """And every schema is one."""
    for schema in header_schemas().values():
        validator(schema)
        assert all(header["description"] for header in schema["properties"].values())


@pytest.mark.parametrize(
    ("kind", "topic"), TOPICS_OF_KINDS, ids=[topic.name for _kind, topic in TOPICS_OF_KINDS]
)
def test_the_examples_have_these_headers_and_keys(kind: MessageKind, topic: Topic) -> None:
    """Every example, and none has a header that no schema knows."""
    schema = header_schemas()[kind.name]
    for example in read_examples()[topic.name]:
        assert faults(schema, example["headers"]) == []
        assert faults(key_of(kind), example["key"]) == []
        if kind.event_type:
            assert set(example["headers"]) <= set(schema["properties"])
