"""JSON Schema of every record, made from the structs and `contracts/fields.toml`."""

import tomllib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from schemas.messages import MESSAGE_KINDS
from schemas.records import SCHEMA_VERSION, ExactDecimal, Record

Schema = dict[str, Any]

CONTRACTS: Final = Path(__file__).parent / "contracts"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEFINITIONS: Final = "#/$defs/{name}"

_DECIMAL: Final = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
_UTC: Final = {"format": "date-time", "pattern": "Z$"}
_TYPE_OF_KEYWORD: Final = {
    "minLength": "string",
    "maxLength": "string",
    "pattern": "string",
    "format": "string",
    "minimum": "integer",
    "maximum": "integer",
    "minItems": "array",
    "uniqueItems": "array",
    "items": "array",
    "maxProperties": "object",
    "propertyNames": "object",
    "additionalProperties": "object",
}


class UndescribedError(LookupError):
    """A field that subscribers would see without a word about it."""


def record_schemas() -> dict[str, Schema]:
    """A complete schema for each record that is a message, by the message's name."""
    parts = record_components(DEFINITIONS)
    return {
        kind.name: _complete(kind.name, parts, kind.record.__name__) for kind in MESSAGE_KINDS if kind.record
    }


def record_components(ref_template: str) -> dict[str, Schema]:
    """The records and all that they refer to, by type name; references are made from `ref_template`."""
    records = [kind.record for kind in MESSAGE_KINDS if kind.record]
    _, raw = msgspec.json.schema_components(
        records, schema_hook=_schema_of_foreign, ref_template=ref_template
    )
    return {
        _public(name): _list_of_values(name, part) if "enum" in part else _record(name, part)
        for name, part in sorted(raw.items())
    }


@cache
def field_table() -> Mapping[str, Mapping[str, Any]]:
    """Record name → field name → description and bounds; and `values` → name of a list → its description."""
    return tomllib.loads((CONTRACTS / "fields.toml").read_text())


def _schema_of_foreign(kind: type) -> Schema:
    if kind is ExactDecimal:
        return dict(_DECIMAL)
    raise NotImplementedError(f"no schema for a {kind.__name__}")


def _complete(name: str, parts: Mapping[str, Schema], record: str) -> Schema:
    used = _reachable(parts, record) - {record}
    return {
        "$schema": DIALECT,
        "$id": f"urn:alerts:{SCHEMA_VERSION}:record:{name}",
        **parts[record],
        **({"$defs": {part: parts[part] for part in sorted(used)}} if used else {}),
    }


def _reachable(parts: Mapping[str, Schema], name: str) -> set[str]:
    found, waiting = {name}, [name]
    while waiting:
        new = {ref.rpartition("/")[2] for ref in _references(parts[waiting.pop()])} - found
        found |= new
        waiting += new
    return found


def _references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def _list_of_values(name: str, part: Schema) -> Schema:
    """In the declared order, which msgspec loses, and with words for outsiders."""
    members = next(
        kind for kind in StrEnum.__subclasses__() if (kind.__name__, _is_ours(kind)) == (name, True)
    )
    description = field_table()["values"].get(_public(name))
    if not description:
        raise UndescribedError(f"fields.toml says nothing of the values of {_public(name)}")
    return {**_renamed(part), "description": description, "type": "string", "enum": [*map(str, members)]}


def _record(name: str, part: Schema) -> Schema:
    clean: Schema = _renamed(part)
    table, times = field_table().get(name, {}), _time_fields(name)
    if missing := sorted(clean["properties"].keys() - table.keys()):
        raise UndescribedError(f"fields.toml says nothing of {name}: {', '.join(missing)}")
    clean["description"] = cleandoc(clean["description"])
    for field, schema in clean["properties"].items():
        extra = {**table[field], **(_UTC if field in times else {})}
        clean["properties"][field] = _described(schema, extra)
    return clean


def _time_fields(name: str) -> set[str]:
    """Those of a record that hold a time. msgspec gives no format to a time that might be naive."""
    record = next(kind for kind in Record.__subclasses__() if (kind.__name__, _is_ours(kind)) == (name, True))
    fields = msgspec.structs.fields(record)
    return {field.name for field in fields if datetime in (field.type, *get_args(field.type))}


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("schemas.")


def _renamed(node: Any) -> Any:
    """The same with type names as outsiders know them."""
    if isinstance(node, list):
        return [_renamed(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _public(value) if key in ("$ref", "title") and isinstance(value, str) else _renamed(value)
        for key, value in node.items()
    }


def _public(name: str) -> str:
    return name.rstrip("_")


def _described(schema: Schema, extra: dict[str, Any]) -> Schema:
    description = extra.pop("description")
    if "$ref" in schema:
        # beside a reference other keywords do not count before draft 2019-09, which AsyncAPI builds on
        schema = {"allOf": [{"$ref": schema["$ref"]}], **_without(schema, "$ref")}
    return {"description": description, **_bounded(schema, extra)}


def _bounded(schema: Schema, bounds: Mapping[str, Any]) -> Schema:
    """The bounds where they apply: on the branch of their type, on items and on values."""
    for keyword, bound in bounds.items():
        branch = _branch(schema, _TYPE_OF_KEYWORD[keyword])
        if keyword in branch and isinstance(branch[keyword], dict):
            branch[keyword] = _bounded(branch[keyword], bound)
        else:
            branch[keyword] = bound
    return schema


def _branch(schema: Schema, kind: str) -> Schema:
    branches: list[Schema] = schema.get("anyOf", [schema])
    return next(branch for branch in branches if branch.get("type") == kind)


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}
