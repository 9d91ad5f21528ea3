"""From what was found in a message to the values of a signal. Pure."""

from datetime import datetime
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from processors.characters import storable, trimmed
from processors.directions import line_that_says, read_direction
from processors.numbers import read_number
from processors.reading import Field, Outcome, Reading, is_empty
from processors.symbols import Ticker, find_ticker, read_exchange, read_ticker, unwrapped
from processors.times import read_time
from processors.vocabulary import Vocabulary
from schemas.records import Direction, ExactDecimal, ParseStatus, Warning_

MAX_TEXT: Final = 512
"""Characters of an indicator and of a signal type."""
MAX_INTERVAL: Final = 64
MAX_FIELDS: Final = 64
MAX_KEY: Final = 128
MAX_FIELD: Final = 1024

# In Python 3.11 a member of an enum costs six times a global to reach, and these are reached for every alert.
_BAR_TIME: Final = Field.BAR_TIME
_DIRECTION: Final = Field.DIRECTION
_EXCHANGE: Final = Field.EXCHANGE
_INDICATOR: Final = Field.INDICATOR
_INTERVAL: Final = Field.INTERVAL
_PRICE: Final = Field.PRICE
_SIGNAL_TYPE: Final = Field.SIGNAL_TYPE
_TICKER: Final = Field.TICKER
_TIME: Final = Field.TIME
_TRIGGERED_AT: Final = Field.TRIGGERED_AT

_PARSED: Final = ParseStatus.PARSED
_PARTIAL: Final = ParseStatus.PARTIAL
_UNPARSED: Final = ParseStatus.UNPARSED

ValueT = TypeVar("ValueT")


class Market(msgspec.Struct, frozen=True, gc=False):
    """Where and what is traded. `ticker` is TradingView's name."""

    ticker: str | None
    exchange: str | None
    symbol: str | None
    delayed: bool


class Move(msgspec.Struct, frozen=True, gc=False):
    """What the signal says."""

    signal_type: str | None
    direction: Direction | None


class Moments(msgspec.Struct, frozen=True, gc=False):
    bar_time: datetime | None
    triggered_at: datetime | None


class Normalizer(msgspec.Struct):
    """Reads the values of one message, one method each. What it doubts is in `warnings` afterwards."""

    reading: Reading
    vocabulary: Vocabulary
    warnings: set[Warning_]

    def market(self) -> Market:
        ticker = self._ticker()
        named = self._resolved(self.reading.best(_EXCHANGE))
        if ticker is not None and (ticker.is_spread or ticker.exchange):
            return Market(ticker.name, ticker.exchange, ticker.symbol, ticker.delayed)
        exchange, delayed = read_exchange(named) if named else (None, False)
        exchange = self._text(exchange, MAX_TEXT)
        if ticker is None:
            return Market(None, exchange, None, delayed)
        return Market(ticker.name, exchange, ticker.symbol, delayed)

    def price(self) -> ExactDecimal | None:
        text = self._resolved(self.reading.best(_PRICE))
        return self._taken(read_number(text, self.vocabulary.currencies)) if text else None

    def move(self) -> Move:
        """The direction and the signal type, which may be the line that told the direction."""
        labelled = self._resolved(self.reading.best(_SIGNAL_TYPE))
        places = [labelled] if labelled else self.reading.lines
        own = [text for text in map(self._resolved, self.reading.candidates(_DIRECTION)) if text]
        found = read_direction(own, places, self.vocabulary)
        if found.warning:
            self.warnings.add(found.warning)
        if not labelled and found.value and found.evidence:
            line = line_that_says(found.value, found.evidence, self.reading.signal_lines)
            labelled = self._resolved(line)
        return Move(self._signal_type(labelled) if labelled else None, found.value)

    def moments(self) -> Moments:
        best = self.reading.best
        trigger, bar, time = best(_TRIGGERED_AT), best(_BAR_TIME), best(_TIME)
        if trigger is None:
            trigger = time
        elif bar is None:
            bar = time
        return Moments(self._time(bar), self._time(trigger))

    def indicator(self) -> str | None:
        return self._text(self._resolved(self.reading.best(_INDICATOR) or self.reading.headline), MAX_TEXT)

    def interval(self) -> str | None:
        return self._text(self._resolved(self.reading.best(_INTERVAL)), MAX_INTERVAL)

    def fields(self) -> dict[str, str | None]:
        """The other labelled values, bounded; those that say there is no value are none."""
        if not self.reading.others:
            return {}
        if len(self.reading.others) > MAX_FIELDS:
            self.warnings.add(Warning_.TRUNCATED_FIELDS)
        return {
            self._text(key, MAX_KEY) or "": None
            if value is None or is_empty(value)
            else self._text(value, MAX_FIELD)
            for key, value in list(self.reading.others.items())[:MAX_FIELDS]
        }

    def message(self, message: str, limit: int) -> str:
        if len(message) > limit:
            self.warnings.add(Warning_.TRUNCATED_MESSAGE)
        return self._storable(message[:limit])

    def _ticker(self) -> Ticker | None:
        labelled = self.reading.best(_TICKER)
        if labelled is None:
            return find_ticker(self.reading.searchable, self.vocabulary)
        outcome = read_ticker(labelled)
        if outcome.value is None and not self._resolved(unwrapped(labelled)):
            return None
        return self._taken(outcome)

    def _signal_type(self, text: str) -> str | None:
        short = len(text) <= MAX_TEXT
        name = _kept_unmarked(text, self.vocabulary) if short else _unmarked(text, self.vocabulary)
        return self._text(name, MAX_TEXT)

    def _time(self, value: str | None) -> datetime | None:
        text = self._resolved(value)
        return self._taken(read_time(text)) if text else None

    def _resolved(self, value: str | None) -> str | None:
        """The value unless it still holds a placeholder's braces."""
        if value is None or ("{{" not in value and "}}" not in value):
            return value
        self.warnings.add(Warning_.UNRESOLVED_PLACEHOLDER)
        return None

    def _taken(self, outcome: Outcome[ValueT]) -> ValueT | None:
        if outcome.warning:
            self.warnings.add(outcome.warning)
        return outcome.value

    def _text(self, value: str | None, limit: int) -> str | None:
        """Bounded and storable; nothing is none."""
        if not value:
            return None
        if len(value) > limit:
            self.warnings.add(Warning_.TRUNCATED_FIELDS)
            value = trimmed(value[:limit])
        return self._storable(value) or None

    def _storable(self, text: str) -> str:
        clean = storable(text)
        if clean is not text:
            self.warnings.add(Warning_.REPLACED_CHARACTERS)
        return clean


def _unmarked(text: str, vocabulary: Vocabulary) -> str:
    return trimmed(vocabulary.marks.removed_from(text))


# What signals are called is the same from alert to alert.
_kept_unmarked: Final = lru_cache(maxsize=4096)(_unmarked)


def status_of(market: Market, price: ExactDecimal | None, move: Move) -> ParseStatus:
    if market.ticker is None:
        return _UNPARSED
    return _PARSED if price is not None and (move.signal_type or move.direction) else _PARTIAL
