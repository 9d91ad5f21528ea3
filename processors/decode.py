"""Bytes to text."""

from typing import Final

import msgspec

from processors.characters import EDGES, plain
from schemas.records import Warning_

_BOM: Final = "\ufeff"
_QUOTES: Final = frozenset("\"'“”„‟«»″＂‘’‚‛′＇")


class DecodedBody(msgspec.Struct, frozen=True, gc=False):
    """`text` is the body as sent, byte order mark aside; it may hold NUL but no surrogate."""

    text: str
    warning: Warning_ | None


def decode_body(body: bytes) -> DecodedBody:
    """UTF-8, whatever the content type said. Bytes that are none become U+FFFD. Total."""
    try:
        return DecodedBody(body.decode().removeprefix(_BOM), None)
    except UnicodeDecodeError:
        text = body.decode(errors="replace").removeprefix(_BOM)
        return DecodedBody(text, Warning_.INVALID_UTF8)


def without_outer_quotes(text: str) -> str:
    """The text inside one pair of quotes around all of it, else the text; both ends trimmed."""
    text = text.strip(EDGES)
    if text[:1] not in _QUOTES:
        return text
    inner = text[1:-1]
    quotes = {plain(text[:1]), plain(text[-1:])}
    if inner and quotes in ({'"'}, {"'"}) and quotes.isdisjoint(inner):
        return inner.strip(EDGES)
    return text
