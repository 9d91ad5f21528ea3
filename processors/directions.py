"""Which way a signal points. Pure."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from processors.vocabulary import DirectionMarks, DirectionWords, Vocabulary
from schemas.records import Direction, Warning_

_MOST_SEARCHED: Final = 65_536
_LONGEST_KEPT: Final = 256

Evidence: TypeAlias = DirectionWords | DirectionMarks


class DirectionOutcome(NamedTuple):
    """`evidence` is what decided in the text of the places; none if a field of its own did."""

    value: Direction | None
    warning: Warning_ | None = None
    evidence: Evidence | None = None


def read_direction(
    explicit: Sequence[str], places: Sequence[str], vocabulary: Vocabulary
) -> DirectionOutcome:
    """Ask level by level: fields of its own, words in the places, colour marks in the places.

    The first level that says anything decides; if it disagrees with itself there is no direction.
    """
    own, text = "\n".join(explicit), "\n".join(places)
    read = _kept_levels if len(own) + len(text) <= _LONGEST_KEPT else _ask_levels
    return read(own, text, vocabulary)


def _ask_levels(own: str, text: str, vocabulary: Vocabulary) -> DirectionOutcome:
    levels = vocabulary.words, vocabulary.marks
    for level in levels if own else ():
        if found := _found(level, own):
            return _verdict(found, None)
    for level in levels if text else ():
        if found := _found(level, text):
            return _verdict(found, level)
    return DirectionOutcome(None)


# What signals are called is the same from alert to alert.
_kept_levels: Final = lru_cache(maxsize=4096)(_ask_levels)


def line_that_says(direction: Direction, evidence: Evidence, lines: Iterable[str]) -> str | None:
    """The first line with a word or mark of the direction."""
    return next((line for line in lines if direction in _found(evidence, line)), None)


def _found(evidence: Evidence, text: str) -> set[Direction]:
    return evidence.directions_in(text[:_MOST_SEARCHED])


def _verdict(found: set[Direction], evidence: Evidence | None) -> DirectionOutcome:
    if len(found) > 1:
        return DirectionOutcome(None, Warning_.CONFLICTING_DIRECTION)
    return DirectionOutcome(next(iter(found)), None, evidence)
