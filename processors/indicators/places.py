"""Where in a TOML text its keys and values stand. Pure, linear."""

import re
import tomllib
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""Keys from the outermost in, and the numbers of list items: `("labels", "price", 1)`."""

_TOKEN: Final = re.compile(
    r"""
    (?P<text> \"{3}(?:[^\\]|\\.)*?\"{3,5} | '{3}.*?'{3,5} | "(?:[^"\\\n]|\\.)*" | '[^'\n]*' )
    | (?P<end> (?:\#[^\n]*)?\n | \#[^\n]* )
    | (?P<mark> [\[\]{}=,.] )
    | (?P<word> [^\s\[\]{}=,.\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str | None
    text: str
    line: int


_END: Final = _Token("end", "", 0)


def lines_of(text: str) -> dict[Place, int]:
    """The line, from 1, of each key and each list item.

    `text` must be TOML that `tomllib` has read. The items of an array of tables have no line of their own.
    Raises `RecursionError` on nesting without end.
    """
    reader = _Reader(text)
    reader.read()
    return reader.lines


class _Reader:
    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._tokens = list(_tokens(text))
        self._next = 0

    def read(self) -> None:
        table: Place = ()
        while self._next < len(self._tokens):
            token = self._peek()
            if token.text == "[":
                table = self._header()
            elif token.kind == "end":
                self._take()
            else:
                self._pair(table)

    def _header(self) -> Place:
        while self._peek().text == "[":
            self._take()
        table = self._key(())
        while self._peek().text == "]":
            self._take()
        return table

    def _pair(self, table: Place) -> None:
        place = self._key(table)
        self._take()
        self._value(place)

    def _key(self, place: Place) -> Place:
        """A key, which may be dotted, up to what follows it."""
        while (token := self._peek()).kind in ("text", "word") or token.text == ".":
            self._take()
            if token.text != ".":
                place = (*place, _unquoted(token))
                self.lines.setdefault(place, token.line)
        return place

    def _value(self, place: Place) -> None:
        token = self._take()
        self.lines.setdefault(place, token.line)
        if token.text == "[":
            self._items(place)
        elif token.text == "{":
            self._pairs(place)
        elif token.kind == "word":
            # a number with a point, or a date and its time
            while self._peek().kind == "word" or self._peek().text == ".":
                self._take()

    def _items(self, place: Place) -> None:
        number = 0
        while self._goes_on("]"):
            self._value((*place, number))
            number += 1

    def _pairs(self, place: Place) -> None:
        while self._goes_on("}"):
            self._pair(place)

    def _goes_on(self, closing: str) -> bool:
        """Whether another item follows before the bracket, which is taken."""
        while (token := self._peek()).text == "," or (token.kind == "end" and token is not _END):
            self._take()
        if token.text == closing:
            self._take()
        return token.text != closing and token is not _END

    def _peek(self) -> _Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else _END

    def _take(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token


def _tokens(text: str) -> Iterator[_Token]:
    line, counted = 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", counted, found.start())
        counted = found.start()
        yield _Token(found.lastgroup, found[0], line)


def _unquoted(token: _Token) -> str:
    return str(tomllib.loads(f"key = {token.text}")["key"]) if token.kind == "text" else token.text
