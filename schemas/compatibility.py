"""Compares two JSON Schemas of one record and says for whom each difference is a break. Pure.

Two kinds of readers meet a change: **old** ones, built before it, that get new records; and **new** ones,
built after it, that get the old records still on the topics. A change breaks a reader if a record of the
other side may be refused, or be read as something else than was meant. Readers ignore fields that they do not
know and are strict in everything else: a value outside an enum refuses the record.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Schema = Mapping[str, Any]
Nested = Schema | bool
"""True stands for anything, false for nothing."""


class Reader(StrEnum):
    OLD = "old"
    NEW = "new"


class ChangeKind(StrEnum):
    """`breaks` tells whose reading suffers; of the first two nobody's."""

    OPTIONAL_FIELD_ADDED = "optional_field_added"
    DOCUMENT_ADDED = "document_added"
    DOCUMENT_REMOVED = "document_removed"
    REQUIRED_FIELD_ADDED = "required_field_added"
    FIELD_REMOVED = "field_removed"
    BECAME_REQUIRED = "became_required"
    BECAME_OPTIONAL = "became_optional"
    DEFAULT_CHANGED = "default_changed"
    WIDENED = "widened"
    NARROWED = "narrowed"
    REPLACED = "replaced"

    @property
    def breaks(self) -> frozenset[Reader]:
        return _BREAKS[self]


_NOBODY: Final[frozenset[Reader]] = frozenset()
_OLD: Final = frozenset({Reader.OLD})
_NEW: Final = frozenset({Reader.NEW})
_BREAKS: Final[Mapping[ChangeKind, frozenset[Reader]]] = {
    ChangeKind.OPTIONAL_FIELD_ADDED: _NOBODY,
    ChangeKind.DOCUMENT_ADDED: _NOBODY,
    ChangeKind.DOCUMENT_REMOVED: _OLD | _NEW,
    ChangeKind.REQUIRED_FIELD_ADDED: _NEW,
    # an optional one that goes is still read as its default by old readers: silently wrong
    ChangeKind.FIELD_REMOVED: _OLD,
    ChangeKind.BECAME_REQUIRED: _NEW,
    ChangeKind.BECAME_OPTIONAL: _OLD,
    # the same bytes then mean two things
    ChangeKind.DEFAULT_CHANGED: _OLD | _NEW,
    ChangeKind.WIDENED: _OLD,
    ChangeKind.NARROWED: _NEW,
    ChangeKind.REPLACED: _OLD | _NEW,
}

_SPOKEN: Final = frozenset({"$schema", "$id", "$comment", "$defs", "title", "description", "examples"})
"""For people and tools; says nothing about records."""
_UPPER_BOUNDS: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_LOWER_BOUNDS: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_NESTED: Final = ("items", "additionalProperties", "propertyNames")
_STRUCTURE: Final = frozenset({"properties", "required", "default", "enum", "const", "type", *_NESTED})
_ANYTHING: Final[Schema] = {}
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is that of the field: `fields.*` are the values of a map, `warnings[]` the items of a list."""

    path: str
    kind: ChangeKind
    detail: str

    @property
    def is_breaking(self) -> bool:
        return bool(self.kind.breaks)


def compare(old: Schema, new: Schema) -> list[Change]:
    """Every difference, in the order of the fields. Empty if both describe the same records.

    Accepts what our generator writes: references into `$defs`, no recursion, `anyOf` by type. What it does
    not know it calls `replaced`, so nothing passes as compatible by mistake.
    """
    return list(_compare("", _inlined(old, old), _inlined(new, new)))


def _inlined(node: Any, root: Schema) -> Any:
    """Without references, annotations and needless wrapping."""
    if isinstance(node, list):
        return [_inlined(item, root) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        return {**_inlined(_target(node["$ref"], root), root), **_inlined(_without(node, "$ref"), root)}
    if len(node.get("allOf", ())) == 1:
        return {**_inlined(node["allOf"][0], root), **_inlined(_without(node, "allOf"), root)}
    return {
        key: _inlined_fields(value, root) if key == "properties" else _plain(key, value, root)
        for key, value in node.items()
        if key not in _SPOKEN
    }


def _inlined_fields(fields: Schema, root: Schema) -> Schema:
    # apart, for a field may be named like a keyword
    return {name: _inlined(schema, root) for name, schema in fields.items()}


def _plain(key: str, value: Any, root: Schema) -> Any:
    return value if key in ("default", "enum", "const", "required") else _inlined(value, root)


def _target(reference: str, root: Schema) -> Any:
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def _without(node: Schema, key: str) -> Schema:
    return {name: value for name, value in node.items() if name != key}


def _compare(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    if old.get("default", _ABSENT) != new.get("default", _ABSENT):
        yield Change(path, ChangeKind.DEFAULT_CHANGED, f"{_shown(old, 'default')} → {_shown(new, 'default')}")
    before, after = _branches(old), _branches(new)
    if lost := sorted(before.keys() - after.keys()):
        yield Change(path, ChangeKind.NARROWED, f"no longer {', '.join(lost)}")
    if gained := sorted(after.keys() - before.keys()):
        yield Change(path, ChangeKind.WIDENED, f"also {', '.join(gained)}")
    for name in before:
        if name in after:
            yield from _compare_branch(path, before[name], after[name])


def _branches(schema: Schema) -> dict[str, Schema]:
    """The schema by JSON type. Two branches of one type are told apart by all that they say."""
    beside = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    found: dict[str, Schema] = {}
    for alternative in schema.get("anyOf", [_ANYTHING]):
        branch = {**beside, **alternative}
        types = branch.get("type", "any value")
        for name in types if isinstance(types, list) else [types]:
            found[name if name not in found else f"{name} {branch}"] = branch
    return found


def _compare_branch(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    yield from _compare_values(path, old, new)
    yield from _compare_bounds(path, old, new)
    yield from _compare_fields(path, old, new)
    for keyword, suffix in zip(_NESTED, (f"{path}[]", f"{path}.*", f"{path}.*name"), strict=True):
        if keyword in old or keyword in new:
            yield from _compare_nested(
                suffix.removeprefix("."), old.get(keyword, True), new.get(keyword, True)
            )
    known = _STRUCTURE | _UPPER_BOUNDS | _LOWER_BOUNDS
    for keyword in sorted((old.keys() | new.keys()) - known):
        if old.get(keyword) != new.get(keyword):
            yield Change(path, ChangeKind.REPLACED, _arrow(keyword, old, new))


def _compare_values(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    before, after = _values(old), _values(new)
    if before is None or after is None:
        if before != after:
            kind = ChangeKind.NARROWED if before is None else ChangeKind.WIDENED
            yield Change(path, kind, "a closed list" if before is None else "no longer a closed list")
        return
    if lost := [value for value in before if value not in after]:
        yield Change(path, ChangeKind.NARROWED, f"no longer {lost}")
    if gained := [value for value in after if value not in before]:
        yield Change(path, ChangeKind.WIDENED, f"also {gained}")


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _compare_bounds(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    for keyword in sorted((old.keys() | new.keys()) & (_UPPER_BOUNDS | _LOWER_BOUNDS)):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        kind = ChangeKind.NARROWED if _is_tighter(keyword, before, after) else ChangeKind.WIDENED
        yield Change(path, kind, _arrow(keyword, old, new))


def _is_tighter(keyword: str, before: float | None, after: float | None) -> bool:
    """Whether another bound allows less. None: there is no bound."""
    if before is None or after is None:
        return before is None
    return (after < before) == (keyword in _UPPER_BOUNDS)


def _compare_fields(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    before, after = old.get("properties", _ANYTHING), new.get("properties", _ANYTHING)
    required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
    for name in before:
        where = f"{path}.{name}".removeprefix(".")
        if name not in after:
            yield Change(where, ChangeKind.FIELD_REMOVED, "")
            continue
        if name in required_before - required_after:
            yield Change(where, ChangeKind.BECAME_OPTIONAL, "")
        if name in required_after - required_before:
            yield Change(where, ChangeKind.BECAME_REQUIRED, "")
        yield from _compare(where, before[name], after[name])
    for name in after:
        if name not in before:
            yield _added(f"{path}.{name}".removeprefix("."), old, is_required=name in required_after)


def _added(where: str, old: Schema, *, is_required: bool) -> Change:
    if is_required:
        return Change(where, ChangeKind.REQUIRED_FIELD_ADDED, "")
    if old.get("additionalProperties", True) is not True:
        return Change(where, ChangeKind.WIDENED, "old readers do not ignore what they do not know")
    return Change(where, ChangeKind.OPTIONAL_FIELD_ADDED, "")


def _compare_nested(path: str, old: Nested, new: Nested) -> Iterator[Change]:
    """Of items, values and names."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _compare(path, old, new)
    elif old is True or new is False:
        yield Change(path, ChangeKind.NARROWED, "no longer anything")
    else:
        yield Change(path, ChangeKind.WIDENED, "anything")


def _arrow(keyword: str, old: Schema, new: Schema) -> str:
    return f"{keyword} {_shown(old, keyword)} → {_shown(new, keyword)}"


def _shown(schema: Schema, keyword: str) -> str:
    return repr(schema[keyword]) if keyword in schema else "none"
