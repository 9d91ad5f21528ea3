import json
from typing import Any

import msgspec
import pytest

from ingest.refusals import ADDRESS_CHARS
from processors.normalize import MAX_FIELD, MAX_FIELDS, MAX_INTERVAL, MAX_KEY, MAX_TEXT
from processors.numbers import MAX_DIGITS, MAX_EXPONENT
from processors.parse import MAX_MESSAGE
from processors.symbols import MAX_TICKER
from schemas import record_schemas as module
from schemas.documents import read_examples
from schemas.record_schemas import Schema, UndescribedError, field_table, record_components, record_schemas
from schemas.records import Record, Warning_
from tests.support.contracts import faults, validator

SIGNAL = record_schemas()["signal"]
EXAMPLE = read_examples()["signals"][0]["payload"]


def branch(field: str, kind: str = "string") -> Schema:
    schema: Schema = SIGNAL["properties"][field]
    return next(part for part in schema.get("anyOf", [schema]) if part["type"] == kind)


def test_every_schema_is_one() -> None:
    """By the meta-schema of the dialect that it names."""
    for schema in record_schemas().values():
        validator(schema)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_table_of_fields_is_that_of_the_structs() -> None:
    """A field without a word, or a word about no field, is an error."""
    structs = {
        kind.__name__: {field.name for field in msgspec.structs.fields(kind)}
        for kind in Record.__subclasses__()
        if kind.__module__ == Record.__module__
    }
    described = {name: set(fields) for name, fields in field_table().items() if name != "values"}
    assert described == structs


def test_a_field_without_a_description_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a field is told where to describe it."""
    table = {**field_table(), "StoredSignal": {"signal_id": {"description": "x"}}}
    monkeypatch.setattr(module, "field_table", lambda: table)
    with pytest.raises(UndescribedError, match=r"fields.toml .* StoredSignal: disposition, "):
        record_components("{name}")
    monkeypatch.setattr(module, "field_table", lambda: {**table, "values": {}})
    with pytest.raises(UndescribedError, match=r"fields.toml .* values of"):
        record_components("{name}")


def test_every_field_and_record_is_described() -> None:
    """In words, beside its type."""
    for schema in record_schemas().values():
        assert schema["description"]
        assert all(field["description"].endswith((".", "`")) for field in schema["properties"].values())


def test_the_bounds_are_those_of_the_parser() -> None:
    """A subscriber may size its columns by them."""
    assert branch("message")["maxLength"] == MAX_MESSAGE
    assert branch("ticker")["maxLength"] == branch("symbol")["maxLength"] == MAX_TICKER
    assert branch("indicator")["maxLength"] == branch("signal_type")["maxLength"] == MAX_TEXT
    assert branch("interval")["maxLength"] == MAX_INTERVAL
    fields = branch("fields", "object")
    assert (fields["maxProperties"], fields["propertyNames"]) == (MAX_FIELDS, {"maxLength": MAX_KEY})
    assert fields["additionalProperties"]["anyOf"][0]["maxLength"] == MAX_FIELD
    # sign, "0.", and all digits behind the smallest exponent
    assert branch("price")["maxLength"] == 3 + MAX_DIGITS + MAX_EXPONENT
    refused = record_schemas()["refused_calls"]
    assert refused["properties"]["client_address"]["maxLength"] == ADDRESS_CHARS


def test_lists_of_values_are_closed() -> None:
    """Nobody outside sees the name that Python forced on us."""
    assert "Warning_" not in json.dumps(record_schemas())
    assert SIGNAL["$defs"]["Warning"]["enum"] == list(Warning_)
    assert SIGNAL["$defs"]["Plan"]["enum"] == ["premium", "pro", "basic", "free"]
    lists = {name for name, part in record_components("{name}").items() if "enum" in part}
    assert set(field_table()["values"]) == lists


def test_what_is_referred_to_is_there_and_nothing_else() -> None:
    """A schema is complete without other files."""
    for schema in record_schemas().values():
        text = json.dumps(schema)
        used = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
        assert used == set(schema.get("$defs", {}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal_id", "42"),
        ("received_at", "2026-03-14T09:26:53+01:00"),
        ("received_at", "2026-03-14T09:26:53"),
        ("bar_time", "yesterdayZ"),
        ("direction", "up"),
        ("warnings", ["unheard_of"]),
        ("warnings", ["naive_time", "naive_time"]),
        ("price", 1.5),
        ("price", "1e5"),
        ("ticker", "T" * 257),
        ("ticker", ""),
        ("fields", {"TP": 1}),
        ("fields", {"k" * 129: None}),
        ("fields", {"TP": "v" * 1025}),
        ("chart_id", "../x"),
        ("delayed", None),
        ("plan", "gold"),
        ("source", {"format": "json", "indicator_file": None}),
    ],
)
def test_what_a_signal_must_not_be(field: str, value: object) -> None:
    """Types, formats, closed lists and bounds are all told apart."""
    assert faults(SIGNAL, {**EXAMPLE, field: value})


def test_a_signal_may_have_more() -> None:
    """Readers get fields that they do not know after an additive change."""
    assert faults(SIGNAL, {**EXAMPLE, "new_field": {"deep": [1]}}) == []


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in EXAMPLE.items() if name != key}


def test_what_a_signal_must_have() -> None:
    """A field without a default is required, one with a default is not."""
    assert [name for name in EXAMPLE if not faults(SIGNAL, without(name))] == ["lane", "replay_id"]
