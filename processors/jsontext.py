"""JSON as senders really write it, read without ever touching a float. Pure, linear."""

import json
import re
from itertools import accumulate
from typing import Final, TypeAlias

import msgspec

from processors.characters import plain

MAX_DEPTH: Final = 64
"""Deeper nesting counts as broken: what is accepted must not depend on how deep the caller's stack is."""


class JsonNumber(str):
    """A number as it was written, digit for digit."""

    __slots__ = ()


JsonValue: TypeAlias = str | bool | list["JsonValue"] | dict[str, "JsonValue"] | None

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STEPS: Final = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _STEPS)
_POSITIVE_INFINITY: Final = re.compile(r"(?<=[:,\[\s])\+(?=Infinity)")

_LOOKS_LIKE_JSON: Final = re.compile(
    r"""\{\s*(?:["'“”}\\]|[^\W\d]\w{0,63}\s*:|$)
      | \[\s*(?:[\[{"'“”]|-?[0-9][0-9.eE+-]{0,40}\s*,|$)
      | "[^"\\\n:]{1,64}"\s*:""",
    re.VERBOSE,
)

_decoder: Final = json.JSONDecoder(
    parse_int=JsonNumber,
    parse_float=JsonNumber,
    parse_constant=lambda _name: None,  # NaN and the infinities are no values
    strict=False,
)


def looks_like_json(text: str) -> bool:
    """Whether the start was meant as JSON. `{{ticker}}` and `[15m] COMPRA` were not."""
    return _LOOKS_LIKE_JSON.match(text) is not None


def read_json(text: str) -> JsonValue:
    """The value that is all of the text. Raises `ValueError`.

    Numbers are `JsonNumber`; raw control characters in strings, `NaN`, `±Infinity` (both `None`) and
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


def compact(value: JsonValue) -> str | None:
    """A value as text: strings as they are, numbers as written, containers as JSON."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, JsonNumber):
        return str(value)
    try:
        return msgspec.json.encode(value, enc_hook=_raw_number).decode()
    except UnicodeEncodeError:
        return json.dumps(value)  # escapes the lone surrogates


def _read(text: str) -> JsonValue:
    if too_deep(text):
        raise ValueError("nested too deeply")
    value, end = _decoder.raw_decode(text)
    if end != len(text):
        raise ValueError("something follows the value")
    result: JsonValue = value
    return result


def _raw_number(number: object) -> msgspec.Raw:
    return msgspec.Raw(str(number))
