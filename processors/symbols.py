"""Ticker names. Pure, linear."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from processors.characters import bare, plain
from processors.jsontext import read_json
from processors.patterns import atomic
from processors.reading import Outcome
from processors.vocabulary import LONGEST_LABEL, Vocabulary
from schemas.records import Warning_

MAX_TICKER: Final = 256
MAX_EXCHANGE: Final = 64
_LONGEST_WRAPPING: Final = 4096
_LONGEST_KEPT: Final = 256
_DEEPEST_WRAPPING: Final = 4
_MOST_CANDIDATES: Final = 512
_MOST_SEARCHED: Final = 65_536

_DELAYED: Final = re.compile(r"_DLY?$")

_PREFIX: Final = r"(?=[0-9_]*[A-Z])[A-Z0-9_]{1,32}"
# `-` and `/` belong to a symbol unless an operand follows them: BAJAJ-AUTO, but US10Y-TVC:US02Y
_SYMBOL: Final = (
    rf"[A-Z0-9](?:[A-Z0-9_]|[.&](?=[A-Z0-9])|(?<=[0-9])!"
    rf"|-(?=[A-Z0-9])(?!{_PREFIX}:)|/(?=[A-Z0-9])(?!{_PREFIX}:|[0-9.]+(?![A-Z0-9_])))*"
)
_SINGLE: Final = re.compile(rf"(?:({_PREFIX}):)?({_SYMBOL})")
# an operand that could be cut elsewhere would make every `-` two readings
_FIRST: Final = atomic(rf"(?:{_PREFIX}:)?{_SYMBOL}", "first")
_NEXT: Final = atomic(rf"(?:{_PREFIX}:)?{_SYMBOL}", "next")
_SPREAD: Final = re.compile(rf"\(*+{_FIRST}(?:\)*+[-+*/^]\(*+{_NEXT})*\)*+")
_OPERATOR: Final = re.compile(r"\s*+([-+*/^()])\s*+")
_PREFIX_BEFORE: Final = re.compile(r"(?<!\w)[A-Za-z0-9_]{2,32}$")
_PREFIXES: Final = re.compile(r"([A-Z0-9_]{1,32}):")

# In running text: names end before punctuation, and `&interval=` in a link is no part of one.
_LOOSE_SYMBOL: Final = (
    r"[A-Za-z0-9](?:[A-Za-z0-9_]|\.(?=[A-Za-z0-9])|&(?=[A-Za-z0-9])(?![A-Za-z_]{1,32}=)|(?<=[0-9])!"
    r"|-(?=[A-Za-z0-9])(?![A-Za-z0-9_]{1,32}:))*"
)
_LOOSE_LEG: Final = rf"[A-Za-z0-9_]{{2,32}}:{_LOOSE_SYMBOL}"
_CANDIDATE: Final = re.compile(
    rf"(?<![\w/.@%&+*^-])([A-Za-z0-9_]{{2,32}}):(?=({_LOOSE_SYMBOL}(?:[-+*/^]{_LOOSE_LEG})*))"
)
_WRAPPED: Final = re.compile(r'"symbol"\s*+:\s*+\\*+"([^"\\]+)')


class Ticker(NamedTuple):
    """`name` is TradingView's. A spread has no exchange and is its own symbol."""

    name: str
    exchange: str | None
    symbol: str
    delayed: bool
    is_spread: bool = False


_INVALID: Final = Outcome[Ticker](None, Warning_.INVALID_TICKER)


def read_ticker(text: str) -> Outcome[Ticker]:
    """A labelled value: `PREFIX:SYMBOL`, `SYMBOL`, a spread, or Pine's `={"symbol":…}` around one."""
    return _kept_ticker(text) if len(text) <= _LONGEST_KEPT else _read_ticker(text)


def _read_ticker(text: str) -> Outcome[Ticker]:
    name = unwrapped(text)
    if len(name) > MAX_TICKER or not name.isascii():
        return _INVALID
    name = _OPERATOR.sub(r"\1", name.upper())
    single = _SINGLE.fullmatch(name)
    if single is None:
        return _read_spread(name)
    prefix, symbol = single.groups()
    exchange, delayed = split_delayed(prefix)
    return Outcome(Ticker(name, exchange, symbol, delayed))


# Tickers are the same from alert to alert.
_kept_ticker: Final = lru_cache(maxsize=8192)(_read_ticker)


def find_ticker(texts: Iterable[str], vocabulary: Vocabulary) -> Ticker | None:
    """The first `PREFIX:SYMBOL` in running text whose prefix is a market's and not a label."""
    text = plain("\n".join(texts)[:_MOST_SEARCHED])
    for found in islice(_CANDIDATE.finditer(text), _MOST_CANDIDATES):
        prefix, symbol = found.groups()
        if _is_market(prefix, symbol, vocabulary) and (ticker := read_ticker(f"{prefix}:{symbol}").value):
            return ticker
    return None


def is_inside_ticker(text: str, colon: int, vocabulary: Vocabulary) -> bool:
    """Whether the colon at this place belongs to a ticker, as in `Compra BINANCE:BTCUSDT`."""
    before = _PREFIX_BEFORE.search(text, max(0, colon - LONGEST_LABEL), colon)
    near = plain(text[before.start() : colon + MAX_TICKER]) if before else ""
    found = _CANDIDATE.match(near)
    return found is not None and _is_market(found[1], found[2], vocabulary)


def read_exchange(text: str) -> tuple[str | None, bool]:
    """The exchange a field of its own names, and whether its data are delayed."""
    return _kept_exchange(text) if len(text) <= _LONGEST_KEPT else _read_exchange(text)


def _read_exchange(text: str) -> tuple[str | None, bool]:
    name = bare(text).upper()
    return split_delayed(name if 0 < len(name) <= MAX_EXCHANGE else None)


_kept_exchange: Final = lru_cache(maxsize=1024)(_read_exchange)


def split_delayed(prefix: str | None) -> tuple[str | None, bool]:
    exchange = _DELAYED.sub("", prefix or "")
    return exchange or None, exchange != (prefix or "")


def _read_spread(name: str) -> Outcome[Ticker]:
    if not _SPREAD.fullmatch(name) or name.count("(") != name.count(")"):
        return _INVALID
    delayed = any(_DELAYED.search(prefix) for prefix in _PREFIXES.findall(name))
    return Outcome(Ticker(name, None, name, delayed, is_spread=True))


def unwrapped(text: str) -> str:
    """The symbol inside Pine's wrapping, which may be wrapped again (Heikin Ashi, adjustments)."""
    text = bare(text)
    for _ in range(_DEEPEST_WRAPPING):
        wrapping = text.removeprefix("=").lstrip()
        if not wrapping.startswith("{") or wrapping.startswith("{{") or len(wrapping) > _LONGEST_WRAPPING:
            break
        text = _inner_symbol(wrapping) or text
    return text


def _inner_symbol(wrapping: str) -> str | None:
    try:
        value = read_json(wrapping)
    except ValueError:
        found = _WRAPPED.search(wrapping)
        return found[1] if found else None
    while isinstance(value, dict):
        value = value.get("symbol")
    return value.strip() if isinstance(value, str) else None


def _is_market(prefix: str, symbol: str, vocabulary: Vocabulary) -> bool:
    """Known markets in any case, all others only as they are written: `RSI:55` and `nota:hola` are none."""
    if vocabulary.feed_of(prefix) is not None:
        return False
    name = prefix.upper()
    if _DELAYED.sub("", name) in vocabulary.exchanges:
        return True
    shouted = name == prefix and symbol == symbol.upper() and symbol.casefold() not in vocabulary.words.words
    return shouted and _has_letter(prefix) and _has_letter(symbol)


def _has_letter(text: str) -> bool:
    return text.upper() != text.lower()
