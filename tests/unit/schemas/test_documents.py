import json
from pathlib import Path
from uuid import UUID

import pytest

from processors.parse import parse_webhook
from runtime.ids import received_at_of
from schemas.codec import decode, encode
from schemas.documents import (
    checked_in_files,
    difference,
    generated_files,
    read_examples,
    write_files,
)
from schemas.headers import read_webhook_metadata
from schemas.messages import MESSAGE_KINDS, MessageKind
from schemas.record_schemas import record_schemas
from schemas.records import Lane, Tenant
from schemas.topics import TOPICS, Topic
from tests.support.contracts import faults
from tests.support.webhooks import shipped_book

TOPICS_OF_RECORDS = [(kind, topic) for kind in MESSAGE_KINDS if kind.record for topic in kind.topics]


def test_the_checked_in_contracts_are_those_of_the_code() -> None:
    """Whoever changes a record, a header, a topic or an example generates the contracts anew."""
    assert difference(checked_in_files(), generated_files()) == [], "run `alerts contracts generate`"


def test_generating_twice_gives_the_same() -> None:
    """No time, no order by chance."""
    assert generated_files() == generated_files()


def test_every_topic_has_examples() -> None:
    """With distinct names."""
    for topic, examples in read_examples().items():
        names = [example["name"] for example in examples]
        assert names, topic
        assert len(names) == len(set(names)), topic
    assert set(read_examples()) == {topic.name for topic in TOPICS}


@pytest.mark.parametrize(
    ("kind", "topic"), TOPICS_OF_RECORDS, ids=[topic.name for _kind, topic in TOPICS_OF_RECORDS]
)
def test_an_example_is_a_record(kind: MessageKind, topic: Topic) -> None:
    """By its schema and by our own decoder, and it is written exactly as we write it."""
    assert kind.record
    for example in read_examples()[topic.name]:
        assert faults(record_schemas()[kind.name], example["payload"]) == []
        data = json.dumps(example["payload"]).encode()
        assert json.loads(encode(decode(data, kind.record))) == example["payload"]


def test_examples_of_a_signal_belong_together() -> None:
    """Its webhook, read by the processors, gives the signal that is shown."""
    webhooks, signals = read_examples()["webhooks.raw"], read_examples()["signals"]
    tenant = decode(json.dumps(read_examples()["tenants"][0]["payload"]).encode(), Tenant)
    for webhook, shown in zip(webhooks, signals, strict=True):
        metadata = read_webhook_metadata((name, value.encode()) for name, value in webhook["headers"].items())
        body = webhook["payload"].encode()
        signal = json.loads(encode(parse_webhook(body, metadata, tenant, Lane.MAIN, shipped_book())))
        signal["source"]["parse_revision"] = shown["payload"]["source"]["parse_revision"]
        assert signal == shown["payload"]
        assert metadata.body_bytes == len(body)


def test_ids_of_examples_are_of_their_time() -> None:
    """As the design promises subscribers."""
    for example in read_examples()["signals"]:
        assert (
            received_at_of(UUID(example["headers"]["ce_id"])).isoformat().replace("+00:00", "Z")
            == (example["payload"]["received_at"])
        )


def test_writing_makes_the_folder_equal(tmp_path: Path) -> None:
    """What is wrong is replaced, what is no more goes, and only that is named."""
    wanted = {"records/a.schema.json": "1\n", "headers/b.schema.json": "2\n", "asyncapi.json": "3\n"}
    assert write_files(wanted, tmp_path) == sorted(wanted)
    (tmp_path / "records" / "old.schema.json").write_text("0\n")
    (tmp_path / "asyncapi.json").write_text("4\n")
    (tmp_path / "fields.toml").write_text("stays")
    assert difference(checked_in_files(tmp_path), wanted) != []
    assert write_files(wanted, tmp_path) == ["asyncapi.json", "records/old.schema.json"]
    assert checked_in_files(tmp_path) == wanted
    assert (tmp_path / "fields.toml").exists()


def test_a_difference_is_shown_line_by_line() -> None:
    """With the file it is in; a file too many or too few is shown whole."""
    lines = difference({"a": "1\n2\n", "gone": "x\n"}, {"a": "1\n3\n", "new": "y\n"})
    assert {"--- checked in/a", "+++ generated/a", "-2", "+3", "-x", "+y"} <= set(lines)
