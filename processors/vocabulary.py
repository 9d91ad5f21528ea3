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
MAX_SPELLINGS: Final = 100
"""Spellings one part may have for a field: ranks of different parts must not overlap."""
_EMOJI_RANK: Final = 1000
"""Text labels win over emojis, wherever they stand."""

_WORD: Final = re.compile(r"\w+")
_SPACES: Final = re.compile(" {2,}")
_WORD_BREAKS: Final = re.compile(r"[\s_-]++")
_AROUND: Final = re.compile(rf"^[{EMOJI}\"'*`]++|[{EMOJI}\"'*`]++$")


@dataclass(frozen=True, slots=True, eq=False)
class DirectionWords:
    """Words (casefolded) and phrases that mean a direction, each as a whole and in any case."""

    words: Mapping[str, Direction]
    phrases: Mapping[Direction, re.Pattern[str]]

    def directions_in(self, text: str) -> set[Direction]:
        found = {self.words[word] for word in _WORD.findall(text.casefold()) if word in self.words}
        return found | {direction for direction, phrase in self.phrases.items() if phrase.search(text)}


@dataclass(frozen=True, slots=True, eq=False)
class DirectionMarks:
    """Characters that mean a direction wherever they stand; `mark` finds any of them."""

    marks: Mapping[str, Direction]
    mark: re.Pattern[str]

    def directions_in(self, text: str) -> set[Direction]:
        return {direction for mark, direction in self.marks.items() if mark in text}

    def removed_from(self, text: str) -> str:
        """The text without the marks and the double spaces they leave; the very same without any."""
        bare, removed = self.mark.subn("", text)
        return _SPACES.sub(" ", bare) if removed else text


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Labels are held folded: look them up with `feed_of`. Exchanges and currencies are upper case.

    Compared by identity, so that what was read with one can be kept by vocabulary and text.
    """

    labels: Mapping[str, Feed]
    emojis: Mapping[str, Feed]
    emoji: re.Pattern[str]
    words: DirectionWords
    marks: DirectionMarks
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
    emojis = _feeds([words.emojis for words in parts], str, _EMOJI_RANK)
    return Vocabulary(
        labels=_feeds([words.labels for words in parts], fold, 0),
        emojis=emojis,
        emoji=re.compile(any_of(emojis)),
        words=_direction_words(_merged(words.directions for words in parts)),
        marks=_direction_marks(_merged(words.marks for words in parts)),
        exchanges=frozenset(code for words in parts for code in words.exchanges),
        currencies=frozenset(code for words in parts for code in words.currencies),
    )


def _feeds(parts: Sequence[Spellings[Field]], key: Callable[[str], str], base: int) -> dict[str, Feed]:
    feeds: dict[str, Feed] = {}
    for place, spellings in enumerate(reversed(parts)):
        for field, names in spellings.items():
            for rank, name in enumerate(names):
                feeds.setdefault(key(name), Feed(field, base + place * MAX_SPELLINGS + rank))
    return feeds


def _merged(parts: Iterable[Spellings[Direction]]) -> dict[str, Direction]:
    return {
        word.casefold(): direction
        for spellings in parts
        for direction, words in spellings.items()
        for word in words
    }


def _direction_words(meanings: dict[str, Direction]) -> DirectionWords:
    words = {word: meaning for word, meaning in meanings.items() if _WORD.fullmatch(word)}
    phrases: dict[Direction, list[str]] = {}
    for phrase in meanings.keys() - words.keys():
        phrases.setdefault(meanings[phrase], []).append(phrase)
    return DirectionWords(words, {direction: whole_words(phrases[direction]) for direction in phrases})


def _direction_marks(meanings: dict[str, Direction]) -> DirectionMarks:
    return DirectionMarks(meanings, re.compile(rf"(?:{any_of(meanings)})\ufe0f?"))


def whole_words(words: Iterable[str]) -> re.Pattern[str]:
    """Any of the words or phrases as a whole, in any case."""
    return re.compile(rf"(?<!\w)(?:{any_of(words)})(?!\w)", re.IGNORECASE)


def any_of(words: Iterable[str]) -> str:
    """A pattern of the words, the longest first; of no words, one that matches nothing."""
    escaped = (re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))
    return "|".join(escaped) or "(?!)"
