"""JSON Schema of the headers and the key of every kind of message, made from `contracts/headers.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

from schemas.messages import MESSAGE_KINDS, MessageKind
from schemas.record_schemas import CONTRACTS, DIALECT, Schema
from schemas.records import SCHEMA_VERSION


def header_schemas() -> dict[str, Schema]:
    """A complete schema of the headers of each message, by the message's name. Values are text."""
    return {kind.name: {**_head(kind), **headers_of(kind)} for kind in MESSAGE_KINDS}


def headers_of(kind: MessageKind) -> Schema:
    declared: dict[str, dict[str, Any]] = {}
    for section in kind.headers:
        declared |= header_table()[section]
    fixed = {"ce_type": kind.event_type, "content-type": kind.content_type}
    properties = {name: _property(header, fixed.get(name)) for name, header in declared.items()}
    required = [name for name, header in declared.items() if not header.get("optional")]
    return {"type": "object", "properties": properties, "required": required}


def key_of(kind: MessageKind) -> Schema:
    return dict(header_table()["key"][kind.key])


@cache
def header_table() -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """Section → header or key → its schema."""
    return tomllib.loads((CONTRACTS / "headers.toml").read_text())


def _head(kind: MessageKind) -> Schema:
    return {
        "$schema": DIALECT,
        "$id": f"urn:alerts:{SCHEMA_VERSION}:headers:{kind.name}",
        "title": f"Headers of {kind.name}",
        "description": kind.summary,
    }


def _property(header: Mapping[str, Any], fixed: str | None) -> Schema:
    rest = {key: value for key, value in header.items() if key != "optional"}
    return {"type": "string", **rest, **({"const": fixed} if fixed else {})}
