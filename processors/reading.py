"""What was found in a message, before it is normalized."""

from enum import StrEnum
from operator import itemgetter
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from schemas.records import SourceFormat, Warning_

MAX_LABELLED: Final = 2048
"""Labelled values, or lines, that are read of one message. More are no alert; they would only cost time."""

_EMPTY_WORDS: Final = frozenset({"", "null", "nan", "na"})
_LONGEST_EMPTY_WORD: Final = 4

ValueT = TypeVar("ValueT")


class Field(StrEnum):
    """What a label can feed. `time` is the bar's beside a trigger time, else the trigger time itself."""

    # the enum's own hash is written in Python, and fields are looked up many times an alert
    __hash__ = str.__hash__

    TICKER = "ticker"
    PRICE = "price"
    SIGNAL_TYPE = "signal_type"
    DIRECTION = "direction"
    INDICATOR = "indicator"
    INTERVAL = "interval"
    TRIGGERED_AT = "triggered_at"
    BAR_TIME = "bar_time"
    TIME = "time"
    EXCHANGE = "exchange"
    CHART = "chart"
    MESSAGE = "message"


class Outcome(msgspec.Struct, Generic[ValueT], frozen=True, gc=False):
    """A value read from text, or none, and what the reader could not take at face value."""

    value: ValueT | None
    warning: Warning_ | None = None


class Feed(NamedTuple):
    """Where a label's value goes. Among several values of a field the lowest rank wins, then the first."""

    field: Field
    rank: int


class Reading(msgspec.Struct):
    """Labelled values, other labelled values and unlabelled lines of a message, as far as they were read.

    `lines` are the unlabelled ones; of these `signal_lines` may name the signal, which the headline may not.
    `searchable` are the texts a ticker or a chart link may stand in: never a label's name.
    """

    format: SourceFormat
    values: dict[Field, list[tuple[int, str]]] = {}
    others: dict[str, str | None] = {}
    lines: list[str] = []
    signal_lines: list[str] = []
    searchable: list[str] = []
    headline: str | None = None
    warnings: set[Warning_] = set()

    def feed(self, feed: Feed, value: str) -> None:
        if len(value) <= _LONGEST_EMPTY_WORD and value.lower() in _EMPTY_WORDS:
            return
        found = self.values.get(feed.field)
        if found is None:
            self.values[feed.field] = [(feed.rank, value)]
        else:
            found.append((feed.rank, value))

    def candidates(self, name: Field) -> list[str]:
        """The values of a field, best first. Empty ones, `null` and the like count as absent."""
        found = self.values.get(name)
        if found is None:
            return []
        if len(found) == 1:
            return [found[0][1]]
        return [value for _, value in sorted(found, key=itemgetter(0))]

    def best(self, name: Field) -> str | None:
        found = self.values.get(name)
        if found is None:
            return None
        return found[0][1] if len(found) == 1 else min(found, key=itemgetter(0))[1]

    def fill_from(self, inner: "Reading") -> None:
        """Take from the text of a `message` what this reading lacks."""
        self.values = inner.values | self.values
        for key, value in inner.others.items():
            self.others.setdefault(key, value)
        self.lines, self.signal_lines, self.headline = inner.lines, inner.signal_lines, inner.headline
        self.searchable += inner.searchable
        self.warnings |= inner.warnings


def is_empty(value: str) -> bool:
    """Whether a value says that there is none: an unset plot reads `null` or `NaN`."""
    return len(value) <= _LONGEST_EMPTY_WORD and value.lower() in _EMPTY_WORDS
