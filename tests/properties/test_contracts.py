"""The contracts hold for whatever is published, and the classifier of changes is right about readers."""

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.codec import encode
from schemas.compatibility import ChangeKind, Reader, compare
from schemas.header_schemas import header_schemas
from schemas.headers import CloudEvent, WebhookMetadata, event_headers, traceparent, webhook_headers
from schemas.record_schemas import record_schemas
from tests.support.contracts import validator
from tests.support.webhooks import parse

Schema = dict[str, Any]
Path = tuple[str, ...]

SCHEMAS = {
    **{f"records/{name}": schema for name, schema in record_schemas().items()},
    **{f"headers/{name}": schema for name, schema in header_schemas().items()},
}
SIGNALS = validator(SCHEMAS["records/signal"])
HEADERS = validator(SCHEMAS["headers/signal"])

TEXT = st.text(max_size=600)
LABELS = st.sampled_from(
    ["ticker", "price", "signal", "indicator", "interval", "time", "chart", "exchange", "TP"]
)
VALUES = TEXT | st.sampled_from(
    ["BINANCE:BTCUSDT.P", "1e30", "9" * 38 + "e30", "1773480413000", "Ab3dE9xZ", "1e-30"]
)
PAIRS = st.dictionaries(LABELS | TEXT, VALUES, max_size=70)
BODIES = st.one_of(
    st.binary(max_size=400),
    PAIRS.map(
        lambda pairs: "\n".join(f"{key}: {value}" for key, value in pairs.items()).encode("utf-8", "replace")
    ),
    PAIRS.map(lambda pairs: json.dumps(pairs).encode()),
)


@given(body=BODIES)
def test_every_signal_keeps_the_contract(body: bytes) -> None:
    """Types, formats, closed lists and bounds, whatever was sent."""
    signal = json.loads(encode(parse(body)))
    assert [error.message for error in SIGNALS.iter_errors(signal)] == []


def test_the_largest_values_keep_the_contract() -> None:
    """Every bound is reached and none is passed."""
    pairs = {
        "ticker": "X:" + "T" * 300,
        "indicator": "I" * 600,
        "price": "9" * 38 + "e30",
        "message": "m" * 70_000,
    }
    pairs |= {f"label {number}" * 20: "v" * 2_000 for number in range(80)}
    signal = json.loads(encode(parse(json.dumps(pairs))))
    assert (len(signal["indicator"]), len(signal["price"]), len(signal["fields"])) == (512, 68, 64)
    assert len(signal["message"]) == 65_536
    assert [error.message for error in SIGNALS.iter_errors(signal)] == []


@given(
    texts=st.tuples(TEXT, TEXT, TEXT, st.text(max_size=3000)),
    moment=st.datetimes(timezones=st.just(UTC)),
    signal_id=st.uuids(),
    numbers=st.tuples(st.integers(0, 2**63), st.integers(0, 2**18)),
)
def test_the_headers_keep_the_contract(
    texts: tuple[str, str, str, str], moment: Any, signal_id: Any, numbers: tuple[int, int]
) -> None:
    """Whatever the sender's headers are."""
    metadata = WebhookMetadata(signal_id, moment, *texts, *numbers)
    event = CloudEvent(
        str(signal_id), "alerts.signal", "processors", moment, traceparent=traceparent(signal_id, numbers[0])
    )
    headers = [*event_headers(event), *webhook_headers(metadata)]
    values = {name: value.decode("utf-8", "replace") for name, value in headers}
    assert [error.message for error in HEADERS.iter_errors(values)] == []


def objects(schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every object with fields in a schema, with the keys that lead to it."""
    if "properties" in schema:
        yield path, schema
    for name, part in schema.get("$defs", {}).items():
        yield from objects(part, (*path, "$defs", name))


def at(schema: Schema, path: Path) -> Schema:
    node = schema
    for part in path:
        node = node[part]
    return node


PLACES = [(name, path) for name, schema in SCHEMAS.items() for path, _object in objects(schema)]
places = st.sampled_from(PLACES)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_same_is_compatible(name: str) -> None:
    """Nothing differs from itself."""
    assert compare(SCHEMAS[name], deepcopy(SCHEMAS[name])) == []


@given(place=places, field=st.text(min_size=1, max_size=8))
def test_an_optional_field_more_is_compatible(place: tuple[str, Path], field: str) -> None:
    """In any record or part; without a default it is, required, a break for new readers."""
    name, path = place
    changed = deepcopy(SCHEMAS[name])
    node = at(changed, path)
    assume(field not in node["properties"])
    node["properties"][field] = {"type": "string", "default": ""}
    assert {change.kind for change in compare(SCHEMAS[name], changed)} == {ChangeKind.OPTIONAL_FIELD_ADDED}
    node["required"] = [*node["required"], field]
    assert {change.kind for change in compare(SCHEMAS[name], changed)} == {ChangeKind.REQUIRED_FIELD_ADDED}


@given(place=places, data=st.data())
def test_a_field_less_is_a_break(place: tuple[str, Path], data: st.DataObject) -> None:
    """Any field of any record or part, required or not."""
    name, path = place
    changed = deepcopy(SCHEMAS[name])
    node = at(changed, path)
    field = data.draw(st.sampled_from(sorted(node["properties"])))
    del node["properties"][field]
    node["required"] = [other for other in node["required"] if other != field]
    found = compare(SCHEMAS[name], changed)
    assert {change.kind for change in found} == {ChangeKind.FIELD_REMOVED}
    assert all(change.is_breaking for change in found)


VALUES_TRIED = [
    None,
    "",
    "a",
    "ab",
    "abc",
    "b",
    0,
    1,
    2,
    7,
    [],
    ["a"],
    ["abc"],
    [1],
    [7],
    {},
    {"x": "a"},
    {"x": 7},
]
texts: st.SearchStrategy[Schema] = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(1, 3),
        "enum": st.sets(st.sampled_from(["a", "ab", "abc"]), min_size=1).map(sorted),
    },
)
integers: st.SearchStrategy[Schema] = st.fixed_dictionaries(
    {"type": st.just("integer")}, optional={"minimum": st.integers(0, 2), "maximum": st.integers(1, 7)}
)
plain = texts | integers
lists: st.SearchStrategy[Schema] = st.fixed_dictionaries(
    {"type": st.just("array")}, optional={"items": plain}
)
maps: st.SearchStrategy[Schema] = st.fixed_dictionaries(
    {"type": st.just("object")}, optional={"additionalProperties": plain}
)


@st.composite
def pairs_of_fields(draw: st.DrawFn) -> tuple[Schema | None, Schema | None]:
    """A field before and after, mostly of one type, or none where it is not there."""
    kind = draw(st.sampled_from([texts, integers, lists, maps]))
    before, other = draw(kind), draw(kind | plain)
    keyword = draw(st.sampled_from([None, *sorted(other)]))
    sides = [before, {**before, keyword: other[keyword]} if keyword in before else other]
    nullable = draw(st.tuples(st.booleans(), st.booleans()))
    present = draw(st.sampled_from([(True, True), (True, True), (True, True), (False, True), (True, False)]))
    old, new = (
        ({"anyOf": [side, {"type": "null"}]} if null else side) if there else None
        for side, null, there in zip(sides, nullable, present, strict=True)
    )
    return old, new


def record_of(field: Schema | None, *, is_required: bool) -> Schema:
    properties = {} if field is None else {"field": field}
    return {
        "type": "object",
        "properties": properties,
        "required": ["field"] if field and is_required else [],
    }


def records_of(writer: Schema) -> list[dict[str, Any]]:
    """All that a writer may write of the values tried. It writes no field that it does not know."""
    named: list[dict[str, Any]] = [{"field": value} for value in VALUES_TRIED] if writer["properties"] else []
    valid = validator(writer).is_valid
    return [record for record in [{}, *named] if valid(record)]


@given(fields=pairs_of_fields(), required=st.tuples(st.booleans(), st.booleans()))
def test_no_reader_is_broken_without_being_told(
    fields: tuple[Schema | None, Schema | None], required: tuple[bool, bool]
) -> None:
    """What one side writes is valid for the readers of the other, unless the change says that they break."""
    old, new = (record_of(field, is_required=must) for field, must in zip(fields, required, strict=True))
    broken = {reader for change in compare(old, new) for reader in change.kind.breaks}
    for reader, writer, reading in ((Reader.OLD, new, old), (Reader.NEW, old, new)):
        refused = [record for record in records_of(writer) if not validator(reading).is_valid(record)]
        assert reader in broken or refused == []
