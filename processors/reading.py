"""What was found in a message, before it is normalized."""

from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import Final, Generic, NamedTuple, TypeVar

from schemas.records import SourceFormat, Warning_

MAX_LABELLED: Final = 2048
"""Labelled values, or lines, that are read of one message. More are no alert; they would only cost time."""

_EMPTY_WORDS: Final = frozenset({"", "null", "nan", "na"})

ValueT = TypeVar("ValueT")


class Field(StrEnum):
    """What a label can feed. `time` is the bar's beside a trigger time, else the trigger time itself."""

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


class Outcome(NamedTuple, Generic[ValueT]):
    """A value read from text, or none, and what the reader could not take at face value."""

    value: ValueT | None
    warning: Warning_ | None = None


class Feed(NamedTuple):
    """Where a label's value goes. Among several values of a field the lowest rank wins, then the first."""

    field: Field
    rank: int


@dataclass(slots=True)
class Reading:
    """Labelled values, other labelled values and unlabelled lines of a message, as far as they were read.

    `lines` are the unlabelled ones; of these `signal_lines` may name the signal, which the headline may not.
    `searchable` are the texts a ticker or a chart link may stand in: never a label's name.
    """

    format: SourceFormat
    values: dict[Field, list[tuple[int, str]]] = field(default_factory=dict)
    others: dict[str, str | None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    signal_lines: list[str] = field(default_factory=list)
    searchable: list[str] = field(default_factory=list)
    headline: str | None = None
    warnings: set[Warning_] = field(default_factory=set)

    def feed(self, feed: Feed, value: str) -> None:
        if not is_empty(value):
            self.values.setdefault(feed.field, []).append((feed.rank, value))

    def candidates(self, name: Field) -> list[str]:
        """The values of a field, best first. Empty ones, `null` and the like count as absent."""
        found = self.values.get(name)
        if found is None:
            return []
        return [value for _, value in sorted(found, key=itemgetter(0))] if len(found) > 1 else [found[0][1]]

    def best(self, name: Field) -> str | None:
        return next(iter(self.candidates(name)), None)

    def fill_from(self, inner: "Reading") -> None:
        """Take from the text of a `message` what this reading lacks."""
        self.values = inner.values | self.values
        self.others = self.others | {key: inner.others[key] for key in inner.others if key not in self.others}
        self.lines, self.signal_lines, self.headline = inner.lines, inner.signal_lines, inner.headline
        self.searchable += inner.searchable
        self.warnings |= inner.warnings


def is_empty(value: str) -> bool:
    """Whether a value says that there is none: an unset plot reads `null` or `NaN`."""
    return len(value) <= len("null") and value.lower() in _EMPTY_WORDS
