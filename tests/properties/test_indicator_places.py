"""Any TOML, however it is laid out, is located."""

import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.indicators.places import Place, lines_of

KEYS = st.text(st.sampled_from("ab=[]#.\"' é\n"), max_size=4)
TEXTS = st.text(st.sampled_from("ab,=[]{}#\"'\\ é\n"), max_size=6)
SCALARS = st.one_of(
    st.integers(-5, 5).map(str), st.sampled_from(["1.5", "true", "1979-05-27 07:32:00"]), TEXTS
)
VALUES = st.recursive(SCALARS, lambda values: st.lists(values, max_size=3), max_leaves=6)
BREAKS = st.lists(st.sampled_from(["", "\n", " # ],\n", "\n\n"]), min_size=8, max_size=8)
TABLES = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3)


class Writer:
    """Writes TOML and notes the line of all it writes."""

    def __init__(self, breaks: list[str]) -> None:
        self.text = ""
        self.lines: dict[Place, int] = {}
        self._breaks = breaks

    def note(self, place: Place) -> None:
        self.lines[place] = self.text.count("\n") + 1

    def table(self, place: Place, content: dict[str, Any]) -> None:
        self.note(place)
        self.text += f"[{json.dumps(place[0])}]\n"
        for key, value in content.items():
            self.note((*place, key))
            self.text += f"{json.dumps(key)} = "
            self.value((*place, key), value)
            self.text += "\n"

    def value(self, place: Place, value: Any) -> None:
        if isinstance(value, str):
            self.text += json.dumps(value) if len(value) % 2 else self._wrapped(value)
            return
        self.text += "["
        for number, item in enumerate(value):
            self._break(number)
            self.note((*place, number))
            self.value((*place, number), item)
            self._break(number + 1)
            self.text += ","
        self.text += "]"

    def _wrapped(self, value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"""\n{escaped}"""'

    def _break(self, number: int) -> None:
        self.text += self._breaks[number % len(self._breaks)]


@given(TABLES, BREAKS)
def test_every_key_and_item_is_found_where_it_was_written(tables: dict[str, Any], breaks: list[str]) -> None:
    """What `tomllib` reads has a line, and it is the right one."""
    writer = Writer(breaks)
    for key, content in tables.items():
        writer.table((key,), content)
    tomllib.loads(writer.text)
    assert lines_of(writer.text) == writer.lines
