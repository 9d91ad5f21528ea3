"""Which way a signal points. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from processors.vocabulary import Vocabulary
from schemas.records import Direction, Warning_

_MOST_SEARCHED: Final = 65_536


class DirectionOutcome(NamedTuple):
    """`evidence` is the pattern that decided by the places' text; none if a field of its own did."""

    value: Direction | None
    warning: Warning_ | None = None
    evidence: re.Pattern[str] | None = None


def read_direction(explicit: Sequence[str], places: Iterable[str], vocabulary: Vocabulary) -> DirectionOutcome:
    """Ask level by level: fields of its own, words in the places, colour marks in the places.

    The first level that says anything decides; if it disagrees with itself there is no direction.
    """
    own = "\n".join(explicit)
    if found := _found(vocabulary.words, own) or _found(vocabulary.marks, own):
        return _verdict(found, None)
    text = "\n".join(places)
    for pattern in (vocabulary.words, vocabulary.marks):
        if found := _found(pattern, text):
            return _verdict(found, pattern)
    return DirectionOutcome(None)


def line_that_says(direction: Direction, evidence: re.Pattern[str], lines: Iterable[str]) -> str | None:
    """The first line that holds a word or mark of the direction."""
    return next((line for line in lines if direction in _found(evidence, line)), None)


def _found(pattern: re.Pattern[str], text: str) -> set[Direction]:
    matches = pattern.finditer(text[:_MOST_SEARCHED])
    return {Direction(found.lastgroup) for found in matches if found.lastgroup}


def _verdict(found: set[Direction], evidence: re.Pattern[str] | None) -> DirectionOutcome:
    if len(found) > 1:
        return DirectionOutcome(None, Warning_.CONFLICTING_DIRECTION)
    return DirectionOutcome(found.pop(), None, evidence)
