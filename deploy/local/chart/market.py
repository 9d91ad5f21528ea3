"""Invented candles: a pure function of symbol, interval and time, so that every page tells the same story.

The logarithm of the price is a sum of smooth noises of doubling period, each as strong as a random walk is
over that time. So any bar can be computed without those before it.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Final

from deploy.local.chart.interval import Interval

_MASK: Final = 2**64 - 1
_PERIODS: Final = tuple(2**octave for octave in range(11))
_MINUTE_MS: Final = 60_000
_JITTER_MS: Final = 50
_SYMBOL: Final = re.compile(r'[\w:.\-&/!=,{}"]{1,256}')
_UNKNOWN_PREFIX: Final = "UNKNOWN:"
# Streams of randomness beside those of the octaves.
_WICK_UP, _WICK_DOWN, _VOLUME, _JITTER = range(100, 104)


def symbol_exists(symbol: str) -> bool:
    """Every well-formed symbol does, spreads and Pine's `={"symbol":…}` too, but for those of `UNKNOWN`."""
    return _SYMBOL.fullmatch(symbol) is not None and not symbol.startswith(_UNKNOWN_PREFIX)


@dataclass(frozen=True, slots=True)
class Bar:
    start_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: int


class Market:
    """The prices of one symbol at one interval. The last bar is forming: its close follows the clock."""

    def __init__(self, symbol: str, interval: Interval) -> None:
        self._interval = interval
        self._seed = _seed(f"{symbol}\n{interval.code}")
        # Every interval of a symbol trades around the same price, between 0.05 and 50,000.
        self._base = 10 ** (1.7 + 3 * _unit(_seed(symbol), 0, 0))
        minutes = interval.bar_ms / _MINUTE_MS
        self._swing = min(0.0008 * math.sqrt(minutes), 0.03)

    @property
    def decimals(self) -> int:
        return 2 if self._base >= 10 else 4 if self._base >= 1 else 6  # noqa: PLR2004 - as markets quote

    def bars(self, now_ms: int, count: int) -> list[Bar]:
        """The last `count` bars, oldest first; the last one holds `now_ms`."""
        last = self._interval.index_at(now_ms)
        first = last - count + 1
        levels = self._levels(first, count + 1)
        finished = [self._bar(first + i, levels[i], levels[i + 1], 1.0) for i in range(count - 1)]
        return [*finished, self.forming(now_ms)]

    def forming(self, now_ms: int) -> Bar:
        """The bar that holds `now_ms`, as far as it has come."""
        index = self._interval.index_at(now_ms)
        start_ms, end_ms = self._interval.start_ms(index), self._interval.start_ms(index + 1)
        done = (now_ms - start_ms) / (end_ms - start_ms)
        opened, closing = self._levels(index, 2)
        jitter = _unit(self._seed, _JITTER, now_ms // _JITTER_MS)
        level = opened + (closing - opened) * done + self._swing * 0.3 * jitter
        return self._bar(index, opened, level, done)

    def _bar(self, index: int, opened: float, closed: float, done: float) -> Bar:
        up, down = (abs(_unit(self._seed, which, index)) for which in (_WICK_UP, _WICK_DOWN))
        reach = self._swing * 0.9 * done
        busy = 0.35 + abs(_unit(self._seed, _VOLUME, index)) + abs(closed - opened) / self._swing
        return Bar(
            start_ms=self._interval.start_ms(index),
            open=self._price(opened),
            high=self._price(max(opened, closed) + reach * up * up),
            low=self._price(min(opened, closed) - reach * down * down),
            close=self._price(closed),
            volume=round(1_000 * busy * max(done, 0.02)),
        )

    def _price(self, level: float) -> float:
        return round(self._base * math.exp(level), self.decimals)

    def _levels(self, first: int, count: int) -> list[float]:
        """Levels at the starts of `count` bars: bar i opens at level i and closes at level i + 1."""
        levels = [0.0] * count
        for octave, period in enumerate(_PERIODS):
            strength = self._swing * math.sqrt(period)
            for i, value in enumerate(self._noise(octave, first, count)):
                levels[i] += strength * value
        return levels

    def _noise(self, octave: int, first: int, count: int) -> list[float]:
        """Smooth noise in -1…1 with a random value every `2**octave` bars."""
        period = _PERIODS[octave]
        # Shifted, else the turning points of all octaves would fall on the same bars.
        shifted = first + int(abs(_unit(self._seed, octave, -1)) * period)
        knot = shifted // period
        knots = [_unit(self._seed, octave, knot + i) for i in range(count // period + 3)]
        return [_between(knots, (shifted + i) / period - knot) for i in range(count)]


def _between(knots: list[float], position: float) -> float:
    left = int(position)
    part = position - left
    eased = part * part * (3 - 2 * part)
    return knots[left] + (knots[left + 1] - knots[left]) * eased


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _unit(seed: int, stream: int, index: int) -> float:
    """SplitMix64 of a position in a stream, as a number in -1…1."""
    mixed = (seed + stream * 0xD1342543DE82EF95 + index * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ mixed >> 31) / 2**63 - 1
