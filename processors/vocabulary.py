"""The words a message is read with: labels, emojis, direction words and marks, market codes. Pure."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, TypeVar

from processors.characters import EDGES, EMOJI
from processors.reading import Feed, Field
from schemas.records import Direction

KeyT = TypeVar("KeyT")
Spellings: TypeAlias = Mapping[KeyT, Sequence[str]]

LONGEST_LABEL: Final = 64
_PART_RANKS: Final = 100
_EMOJI_RANK: Final = 1000
"""Text labels win over emojis, wherever they stand."""

_WORD_BREAKS: Final = re.compile(r"[\s_-]++")
_AROUND: Final = re.compile(rf"^[{EMOJI}\"'*`]++|[{EMOJI}\"'*`]++$")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Labels and words are held folded or compiled; look them up with `feed_of` and the patterns.

    `words` and `marks` are patterns whose named groups are directions; `exchanges` and `currencies` are
    upper case.
    """

    labels: Mapping[str, Feed]
    emojis: Mapping[str, Feed]
    emoji: re.Pattern[str]
    words: re.Pattern[str]
    marks: re.Pattern[str]
    exchanges: frozenset[str]
    currencies: frozenset[str]

    def feed_of(self, label: str) -> Feed | None:
        """What a label feeds, in any case, with or without accents, spaces, underscores and hyphens."""
        return self.labels.get(fold(label))


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a vocabulary as people write them, to be compiled together with others."""

    labels: Spellings[Field]
    emojis: Spellings[Field]
    directions: Spellings[Direction]
    marks: Spellings[Direction]
    exchanges: Sequence[str] = ()
    currencies: Sequence[str] = ()


@lru_cache(maxsize=8192)
def fold(label: str) -> str:
    """The form in which labels and keys are equal. Empty for what is too long to be one."""
    if len(label) > LONGEST_LABEL:
        return ""
    label = _AROUND.sub("", label.strip(EDGES)).strip(EDGES)
    if not label.isascii():
        decomposed = unicodedata.normalize("NFD", label)
        label = "".join(char for char in decomposed if not unicodedata.combining(char))
    return _WORD_BREAKS.sub("", label).casefold()


def compile_vocabulary(parts: Sequence[Words]) -> Vocabulary:
    """Join words, the most specific last: where two disagree, the later one wins."""
    directions = [_flat(words.directions, str.upper) for words in parts]
    marks = [_flat(words.marks, str) for words in parts]
    emojis = _feeds([words.emojis for words in parts], str, _EMOJI_RANK)
    return Vocabulary(
        labels=_feeds([words.labels for words in parts], fold, 0),
        emojis=emojis,
        emoji=re.compile(_any_of(emojis)),
        words=re.compile(_directions(directions, r"(?<!\w)(?:{})(?!\w)"), re.IGNORECASE),
        marks=re.compile(_directions(marks, "(?:{})\ufe0f?")),
        exchanges=frozenset(code for words in parts for code in words.exchanges),
        currencies=frozenset(code for words in parts for code in words.currencies),
    )


def _feeds(parts: Sequence[Spellings[Field]], key: Callable[[str], str], base: int) -> dict[str, Feed]:
    feeds: dict[str, Feed] = {}
    for place, spellings in enumerate(reversed(parts)):
        for field, names in spellings.items():
            for rank, name in enumerate(names):
                feeds.setdefault(key(name), Feed(field, base + place * _PART_RANKS + rank))
    return feeds


def _flat(spellings: Spellings[Direction], key: Callable[[str], str]) -> dict[str, Direction]:
    return {key(word): direction for direction, words in spellings.items() for word in words}


def _directions(parts: Iterable[Mapping[str, Direction]], frame: str) -> str:
    by_word: dict[str, Direction] = {}
    for part in parts:
        by_word |= part
    groups = (
        f"(?P<{direction}>{_any_of(word for word in by_word if by_word[word] is direction)})"
        for direction in Direction
    )
    return frame.format("|".join(groups))


def _any_of(words: Iterable[str]) -> str:
    """A pattern of the words, the longest first; of no words, one that matches nothing."""
    escaped = (re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))
    return "|".join(escaped) or "(?!)"
