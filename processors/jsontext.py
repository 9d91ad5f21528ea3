"""JSON as senders really write it, read without ever touching a float. Pure, linear."""

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, TypeAlias

from processors.characters import plain

MAX_DEPTH: Final = 64
"""Deeper nesting counts as broken: what is accepted must not depend on how deep the caller's stack is."""


JsonValue: TypeAlias = str | bytes | bool | list["JsonValue"] | dict[str, "JsonValue"] | None
"""Bytes are a number, digit for digit as it was written: the fastest mark there is for one."""

_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*"?', re.DOTALL)
_STEPS: Final = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _STEPS)
_POSITIVE_INFINITY: Final = re.compile(r"(?<=[:,\[\s])\+(?=Infinity)")

_LOOKS_LIKE_JSON: Final = re.compile(
    r"""\{\s*(?:["'“”}\\]|[^\W\d]\w{0,63}\s*:|$)
      | \[\s*(?:[\[{"'“”]|-?[0-9][0-9.eE+-]{0,40}\s*,|$)
      | "[^"\\\n:]{1,64}"\s*:""",
    re.VERBOSE,
)

_CONSTANTS: Final = {None: "null", True: "true", False: "false"}
_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode

_decoder: Final = json.JSONDecoder(
    parse_int=str.encode,
    parse_float=str.encode,
    parse_constant=lambda _name: None,  # NaN and the infinities are no values
    strict=False,
)


def looks_like_json(text: str) -> bool:
    """Whether the start was meant as JSON. `{{ticker}}` and `[15m] COMPRA` were not."""
    return _LOOKS_LIKE_JSON.match(text) is not None


def read_json(text: str) -> JsonValue:
    """The value that is all of the text. Raises `ValueError`.

    Numbers are bytes; raw control characters in strings, `NaN`, `±Infinity` (both `None`) and
    typographic quotes in place of plain ones are tolerated.
    """
    try:
        return _read(text)
    except ValueError:
        lenient = plain(_POSITIVE_INFINITY.sub("", text))
        if lenient == text:
            raise
        return _read(lenient)


def too_deep(text: str) -> bool:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub("", text).encode("utf-8", "replace").translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def compact(value: JsonValue, room: int) -> str | None:
    """A value as text: strings as they are, numbers as written, containers as JSON.

    A container is written as far as `room` characters need, and a little further.
    """
    return value if value is None or isinstance(value, str) else _written(value, room)


def _written(value: JsonValue, room: int) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return "[" + _joined((_written(item, room) for item in value), room) + "]"
    if isinstance(value, dict):
        pairs = (f"{_quoted(key)}:{_written(item, room)}" for key, item in value.items())
        return "{" + _joined(pairs, room) + "}"
    return _CONSTANTS[value]


def _joined(parts: Iterator[str], room: int) -> str:
    """The parts up to where they fill the room: what nobody keeps must cost nothing."""
    kept: list[str] = []
    while room > 0 and (part := next(parts, None)) is not None:
        kept.append(part)
        room -= len(part) + 1
    return ",".join(kept)


def _read(text: str) -> JsonValue:
    if too_deep(text):
        raise ValueError("nested too deeply")
    value, end = _decoder.raw_decode(text)
    if end != len(text):
        raise ValueError("something follows the value")
    result: JsonValue = value
    return result
