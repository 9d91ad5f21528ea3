"""What can still be read of broken JSON. Pure, linear."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from processors.characters import for_matching, trimmed
from processors.extract import Pair, place_pair, read_text
from processors.jsontext import read_json
from processors.reading import MAX_LABELLED, Reading
from processors.vocabulary import Vocabulary
from schemas.records import SourceFormat, Warning_

# A name in quotes with a value that surely ends where it seems to: what follows belongs to JSON again, which
# the rest of `1,234.5` does not.
_PAIR: Final = re.compile(
    r"""
    "([^"\\\n:]{1,64})"\s*+:\s*+
    (?: "((?:[^"\\\n]++|\\.)*)" | (\{\{[^{}\n]{0,64}\}\}|[^\s",{}\[\]]+) )
    (?=\s*+(?:[}\]"]|,(?!\s*+[0-9])|\Z))
    """,
    re.VERBOSE,
)
_OPENING: Final = re.compile(r"[\[{\s]*+")


def read_fragments(text: str, vocabulary: Vocabulary) -> Reading:
    """The pairs of the outermost object up to where nesting starts; of none, the lines by the text rules."""
    pairs = list(_pairs(text, vocabulary))
    if pairs:
        reading = Reading(SourceFormat.LABELLED_TEXT)
        for pair in pairs:
            place_pair(pair, reading)
        reading.searchable.append(text)
    else:
        reading = read_text(text, vocabulary)
        reading.headline = None
        reading.signal_lines.clear()
    reading.warnings.add(Warning_.MALFORMED_JSON)
    return reading


def _pairs(text: str, vocabulary: Vocabulary) -> Iterator[Pair]:
    opening = _OPENING.match(text)
    end = opening.end() if opening else 0
    for found in islice(_PAIR.finditer(text, end), MAX_LABELLED):
        between = text[end : found.start()]
        if "{" in between or "[" in between:
            return
        label, quoted, word = found.groups()
        value = word if quoted is None else _unescaped(quoted)
        yield Pair(trimmed(label), ":", trimmed(for_matching(value)), vocabulary.feed_of(label))
        end = found.end()


def _unescaped(quoted: str) -> str:
    if "\\" not in quoted:
        return quoted
    try:
        value = read_json(f'"{quoted}"')
    except ValueError:
        return quoted
    return value if isinstance(value, str) else quoted
