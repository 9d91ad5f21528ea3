"""From what was found in a message to the values of a signal. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

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

ValueT = TypeVar("ValueT")


class Market(NamedTuple):
    """Where and what is traded. `ticker` is TradingView's name."""

    ticker: str | None
    exchange: str | None
    symbol: str | None
    delayed: bool


class Move(NamedTuple):
    """What the signal says."""

    signal_type: str | None
    direction: Direction | None


class Moments(NamedTuple):
    bar_time: datetime | None
    triggered_at: datetime | None


@dataclass(slots=True)
class Normalizer:
    """Reads the values of one message, one method each. What it doubts is in `warnings` afterwards."""

    reading: Reading
    vocabulary: Vocabulary
    warnings: set[Warning_] = field(default_factory=set)

    def market(self) -> Market:
        ticker = self._ticker()
        exchange, delayed = read_exchange(self._resolved(self.reading.best(Field.EXCHANGE)))
        exchange = exchange and self._text(exchange, MAX_TEXT)
        if ticker is None:
            return Market(None, exchange, None, delayed)
        if ticker.is_spread or ticker.exchange:
            exchange, delayed = ticker.exchange, ticker.delayed
        return Market(ticker.name, exchange, ticker.symbol, delayed)

    def price(self) -> ExactDecimal | None:
        text = self._resolved(self.reading.best(Field.PRICE))
        return self._taken(read_number(text, self.vocabulary.currencies)) if text else None

    def move(self) -> Move:
        """The direction and the signal type, which may be the line that told the direction."""
        labelled = self._resolved(self.reading.best(Field.SIGNAL_TYPE))
        places = [labelled] if labelled else self.reading.lines
        own = filter(None, map(self._resolved, self.reading.candidates(Field.DIRECTION)))
        found = read_direction(list(own), places, self.vocabulary)
        if found.warning:
            self.warnings.add(found.warning)
        if not labelled and found.value and found.evidence:
            line = line_that_says(found.value, found.evidence, self.reading.signal_lines)
            labelled = self._resolved(line)
        signal_type = labelled and trimmed(self.vocabulary.marks.removed_from(labelled))
        return Move(self._text(signal_type, MAX_TEXT), found.value)

    def moments(self) -> Moments:
        trigger, bar, time = map(self.reading.best, (Field.TRIGGERED_AT, Field.BAR_TIME, Field.TIME))
        if trigger is None:
            trigger = time
        elif bar is None:
            bar = time
        return Moments(self._time(bar), self._time(trigger))

    def indicator(self) -> str | None:
        return self._text(
            self._resolved(self.reading.best(Field.INDICATOR) or self.reading.headline), MAX_TEXT
        )

    def interval(self) -> str | None:
        return self._text(self._resolved(self.reading.best(Field.INTERVAL)), MAX_INTERVAL)

    def fields(self) -> dict[str, str | None]:
        """The other labelled values, bounded; those that say there is no value are none."""
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
        labelled = self.reading.best(Field.TICKER)
        if labelled is None:
            return find_ticker(self.reading.searchable, self.vocabulary)
        name = self._resolved(unwrapped(labelled))
        return self._taken(read_ticker(name)) if name else None

    def _time(self, value: str | None) -> datetime | None:
        text = self._resolved(value)
        return self._taken(read_time(text)) if text else None

    def _resolved(self, value: str | None) -> str | None:
        """The value unless it still holds a placeholder's braces."""
        if value is None or not ("{{" in value or "}}" in value):
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
        if clean != text:
            self.warnings.add(Warning_.REPLACED_CHARACTERS)
        return clean


def status_of(market: Market, price: ExactDecimal | None, move: Move) -> ParseStatus:
    if market.ticker is None:
        return ParseStatus.UNPARSED
    if price is not None and (move.signal_type or move.direction):
        return ParseStatus.PARSED
    return ParseStatus.PARTIAL
