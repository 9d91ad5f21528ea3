from typing import Any

import pytest

from schemas.compatibility import Change, ChangeKind, Reader, compare

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
NULL: Schema = {"type": "null"}
BOTH = frozenset({Reader.OLD, Reader.NEW})
OLD = frozenset({Reader.OLD})
NEW = frozenset({Reader.NEW})
NOBODY: frozenset[Reader] = frozenset()


def record(*required: str, **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required)}


def either(*branches: Schema) -> Schema:
    return {"anyOf": list(branches)}


CASES: dict[str, tuple[Schema, Schema, str, ChangeKind, frozenset[Reader]]] = {
    "a new optional field": (
        record("a", a=TEXT),
        record("a", a=TEXT, b={**TEXT, "default": ""}),
        "b",
        ChangeKind.OPTIONAL_FIELD_ADDED,
        NOBODY,
    ),
    "a new required field": (
        record("a", a=TEXT),
        record("a", "b", a=TEXT, b=TEXT),
        "b",
        ChangeKind.REQUIRED_FIELD_ADDED,
        NEW,
    ),
    "a new field where old readers refuse what they do not know": (
        {**record(a=TEXT), "additionalProperties": False},
        {**record(a=TEXT, b=TEXT), "additionalProperties": False},
        "b",
        ChangeKind.WIDENED,
        OLD,
    ),
    "a field that is gone": (
        record("a", "b", a=TEXT, b=TEXT),
        record("a", a=TEXT),
        "b",
        ChangeKind.FIELD_REMOVED,
        OLD,
    ),
    "an optional field that is gone": (
        record(a=TEXT, b=TEXT),
        record(a=TEXT),
        "b",
        ChangeKind.FIELD_REMOVED,
        OLD,
    ),
    "a field becomes required": (
        record(a=TEXT),
        record("a", a=TEXT),
        "a",
        ChangeKind.BECAME_REQUIRED,
        NEW,
    ),
    "a field becomes optional": (
        record("a", a=TEXT),
        record(a=TEXT),
        "a",
        ChangeKind.BECAME_OPTIONAL,
        OLD,
    ),
    "another default": (
        record(a={**TEXT, "default": "x"}),
        record(a={**TEXT, "default": "y"}),
        "a",
        ChangeKind.DEFAULT_CHANGED,
        BOTH,
    ),
    "the default null is one": (
        record(a={**NULL, "default": None}),
        record(a=NULL),
        "a",
        ChangeKind.DEFAULT_CHANGED,
        BOTH,
    ),
    "null comes": (record(a=TEXT), record(a=either(TEXT, NULL)), "a", ChangeKind.WIDENED, OLD),
    "null goes": (record(a=either(TEXT, NULL)), record(a=TEXT), "a", ChangeKind.NARROWED, NEW),
    "a value comes": (
        record(a={"enum": ["x"]}),
        record(a={"enum": ["x", "y"]}),
        "a",
        ChangeKind.WIDENED,
        OLD,
    ),
    "a value goes": (
        record(a={"enum": ["x", "y"]}),
        record(a={"enum": ["x"]}),
        "a",
        ChangeKind.NARROWED,
        NEW,
    ),
    "a list of values is opened": (
        record(a={**TEXT, "enum": ["x"]}),
        record(a=TEXT),
        "a",
        ChangeKind.WIDENED,
        OLD,
    ),
    "a list of values is closed": (
        record(a=TEXT),
        record(a={**TEXT, "enum": ["x"]}),
        "a",
        ChangeKind.NARROWED,
        NEW,
    ),
    "a constant becomes a list": (
        record(a={"const": "x"}),
        record(a={"enum": ["x", "y"]}),
        "a",
        ChangeKind.WIDENED,
        OLD,
    ),
    "more characters": (
        record(a={**TEXT, "maxLength": 4}),
        record(a={**TEXT, "maxLength": 5}),
        "a",
        ChangeKind.WIDENED,
        OLD,
    ),
    "fewer characters": (
        record(a={**TEXT, "maxLength": 5}),
        record(a={**TEXT, "maxLength": 4}),
        "a",
        ChangeKind.NARROWED,
        NEW,
    ),
    "an upper bound comes": (
        record(a=TEXT),
        record(a={**TEXT, "maxLength": 4}),
        "a",
        ChangeKind.NARROWED,
        NEW,
    ),
    "an upper bound goes": (record(a={**TEXT, "maxLength": 4}), record(a=TEXT), "a", ChangeKind.WIDENED, OLD),
    "a lower bound rises": (
        record(a={**NUMBER, "minimum": 0}),
        record(a={**NUMBER, "minimum": 1}),
        "a",
        ChangeKind.NARROWED,
        NEW,
    ),
    "a lower bound falls": (
        record(a={**NUMBER, "minimum": 1}),
        record(a={**NUMBER, "minimum": 0}),
        "a",
        ChangeKind.WIDENED,
        OLD,
    ),
    "a lower bound goes": (
        record(a={**NUMBER, "minimum": 1}),
        record(a=NUMBER),
        "a",
        ChangeKind.WIDENED,
        OLD,
    ),
    "another format": (
        record(a={**TEXT, "format": "uuid"}),
        record(a={**TEXT, "format": "date-time"}),
        "a",
        ChangeKind.REPLACED,
        BOTH,
    ),
    "another pattern": (
        record(a={**TEXT, "pattern": "^a$"}),
        record(a={**TEXT, "pattern": "^b$"}),
        "a",
        ChangeKind.REPLACED,
        BOTH,
    ),
    "a keyword that the classifier does not know": (
        record(a=TEXT),
        record(a={**TEXT, "contentEncoding": "base64"}),
        "a",
        ChangeKind.REPLACED,
        BOTH,
    ),
    "a keyword beside the alternatives": (
        record(a=either(TEXT, NULL)),
        record(a={**either(TEXT, NULL), "not": {"const": "x"}}),
        "a",
        ChangeKind.REPLACED,
        BOTH,
    ),
    "in an item": (
        record(a={"type": "array", "items": {"enum": ["x"]}}),
        record(a={"type": "array", "items": {"enum": ["x", "y"]}}),
        "a[]",
        ChangeKind.WIDENED,
        OLD,
    ),
    "in a map's value": (
        record(a={"type": "object", "additionalProperties": {**TEXT, "maxLength": 9}}),
        record(a={"type": "object", "additionalProperties": {**TEXT, "maxLength": 8}}),
        "a.*",
        ChangeKind.NARROWED,
        NEW,
    ),
    "a map's values become anything": (
        record(a={"type": "object", "additionalProperties": TEXT}),
        record(a={"type": "object"}),
        "a.*",
        ChangeKind.WIDENED,
        OLD,
    ),
    "a record that accepted more is closed": (
        record(a=TEXT),
        {**record(a=TEXT), "additionalProperties": False},
        "*",
        ChangeKind.NARROWED,
        NEW,
    ),
    "in a part": (
        record("a", a=record("x", x=TEXT)),
        record("a", a=record(x=TEXT)),
        "a.x",
        ChangeKind.BECAME_OPTIONAL,
        OLD,
    ),
    "in an alternative": (
        record("a", a=either(record("x", x=TEXT), NULL)),
        record("a", a=either(record("x", x=NULL), NULL)),
        "a.x",
        ChangeKind.NARROWED,
        NEW,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_classified(case: str) -> None:
    """Where it is, what it is, and whose reading it breaks."""
    old, new, path, kind, breaks = CASES[case]
    found = {(change.path, change.kind) for change in compare(old, new)}
    assert (path, kind) in found
    assert kind.breaks == breaks
    assert {where for where, _kind in found} == {path}


def test_a_change_of_type_breaks_both() -> None:
    """No record of one side is one of the other."""
    found = compare(record(a=TEXT), record(a=NUMBER))
    assert [(change.kind, change.detail) for change in found] == [
        (ChangeKind.NARROWED, "no longer string"),
        (ChangeKind.WIDENED, "also integer"),
    ]


def test_a_renamed_field_is_one_less_and_one_more() -> None:
    """There is no compatible way to rename."""
    found = compare(record("a", a=TEXT), record("b", b=TEXT))
    assert [(change.path, change.kind) for change in found] == [
        ("a", ChangeKind.FIELD_REMOVED),
        ("b", ChangeKind.REQUIRED_FIELD_ADDED),
    ]


def test_two_alternatives_of_one_type_are_told_apart() -> None:
    """Neither hides a change of the other."""
    old = record(a=either({**TEXT, "format": "uuid"}, {**TEXT, "format": "date"}))
    new = record(a=either({**TEXT, "format": "uuid"}, {**TEXT, "format": "time"}))
    assert {change.kind for change in compare(old, new)} == {ChangeKind.NARROWED, ChangeKind.WIDENED}


def test_words_are_no_change() -> None:
    """Neither are the names of parts, nor whether a part is referred to or written out."""
    part = {"title": "Part", "enum": ["x"]}
    referring = {
        "$id": "a",
        "$defs": {"Part": part},
        **record("a", a={"allOf": [{"$ref": "#/$defs/Part"}], "description": "old words"}),
    }
    written = {"title": "Other", **record("a", a={"enum": ["x"], "examples": ["x"]})}
    assert compare(referring, written) == []
    assert compare(written, referring) == []


def test_a_field_may_be_named_like_a_keyword() -> None:
    """Only keywords are left out, never fields."""
    found = compare(record(), record(title=TEXT, description=TEXT, **{"$id": TEXT}))
    assert {change.path for change in found} == {"title", "description", "$id"}


def test_only_a_kind_that_breaks_nobody_is_compatible() -> None:
    """The short list that may be done inside a schema version."""
    compatible = {kind for kind in ChangeKind if not Change("a", kind, "").is_breaking}
    assert compatible == {ChangeKind.OPTIONAL_FIELD_ADDED, ChangeKind.DOCUMENT_ADDED}
