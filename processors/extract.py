"""The text rules: labelled lines, `KEY=VALUE` pairs and what is left. Pure, linear."""

import re
from typing import Final, NamedTuple

from processors.characters import EMOJI, composed, plain, trimmed, without_outer_emojis
from processors.patterns import atomic
from processors.reading import MAX_LABELLED, Feed, Field, Reading, is_empty
from processors.secrecy import SECRET_LABELS
from processors.symbols import MAX_TICKER, is_inside_ticker, read_ticker
from processors.vocabulary import Vocabulary, fold
from schemas.records import SourceFormat, Warning_

_LINE_BREAKS: Final = re.compile("[\r\n\v\f\x85\u2028\u2029]\\s*+")
_PAIR_BREAKS: Final = re.compile(r"\s*+;[;\s]*+")

_KEYCAP: Final = r"[0-9#*]\ufe0f?\u20e3"
# before a label: emojis, spaces, bullets; not quotes, brackets and currency signs
_LEAD: Final = atomic(rf"(?:[^\w\"'“”‘’{{}}\[\]()<>$€£:=：＝]++|{_KEYCAP})*", "lead")
_LABELLED: Final = re.compile(
    rf"{_LEAD}(?P<label>[^:=：＝\"'“”‘’{{}}][^:=：＝]{{0,63}})(?P<separator>[:=：＝])(?!//)(?P<value>.*)",
    re.DOTALL,
)
_EMOJIS: Final = re.compile(rf"(?:[{EMOJI}\s\u200b-\u200f]++|{_KEYCAP})+")
_EMOJIS_SEARCHED: Final = 64

_LONGEST_FREE_LABEL: Final = 40
_MOST_LABEL_WORDS: Final = 5
_NO_LABEL: Final = re.compile(r"[,;?!\"“”{}<>|\\]")
_CLOCK_BEFORE: Final = re.compile(r"(?:^|\s|[0-9]T)[0-9]{1,2}$", re.IGNORECASE)
_CLOCK_AFTER: Final = re.compile(r"[0-9]{2}(?![0-9])")


class Pair(NamedTuple):
    """A labelled value. `feed` is none when the label is not in the vocabulary."""

    label: str
    separator: str
    value: str
    feed: Feed | None


def read_text(text: str, vocabulary: Vocabulary) -> Reading:
    """Read a text line by line. Lines beyond the 2,048th that is not blank are left unread."""
    reading = Reading(SourceFormat.FREE_TEXT)
    lines = _LINE_BREAKS.split(trimmed(text), MAX_LABELLED)
    if len(lines) > MAX_LABELLED:
        reading.warnings.add(Warning_.TRUNCATED_FIELDS)
    pairs_only = True
    for line in filter(None, map(trimmed, map(composed, lines[:MAX_LABELLED]))):
        pairs = _split_line(line, vocabulary)
        pairs_only = pairs_only and bool(pairs) and all(pair.separator == "=" for pair in pairs)
        if pairs:
            reading.format = SourceFormat.LABELLED_TEXT
            for pair in pairs:
                place_pair(pair, reading)
        else:
            _place_line(line, reading)
    if pairs_only and reading.format is SourceFormat.LABELLED_TEXT:
        reading.format = SourceFormat.KEY_VALUE
    return reading


def place_pair(pair: Pair, reading: Reading) -> None:
    """Sort a labelled value into the reading. Secrets and their labels are dropped."""
    if pair.feed is not None:
        reading.feed(pair.feed, pair.value)
    elif fold(pair.label) not in SECRET_LABELS:
        reading.others.setdefault(pair.label, pair.value)
    reading.searchable.append(pair.value)


def _place_line(line: str, reading: Reading) -> None:
    if reading.searchable:
        reading.signal_lines.append(line)
    else:
        reading.headline = _headline(line)
    reading.lines.append(line)
    reading.searchable.append(line)


def _split_line(line: str, vocabulary: Vocabulary) -> list[Pair]:
    """The labelled values of a line; `A=1;B=2` holds several, when all its parts are pairs."""
    first = _split_label(line, vocabulary)
    if first is None:
        return []
    if first.separator == "=" and ";" in first.value:
        parts = [_split_label(part, vocabulary) for part in _PAIR_BREAKS.split(line, MAX_LABELLED) if part]
        pairs = [part for part in parts if part is not None and part.separator == "="]
        if len(pairs) == len(parts):
            return pairs
    return [first]


def _split_label(line: str, vocabulary: Vocabulary) -> Pair | None:
    found = _LABELLED.match(line)
    if found is not None:
        label, separator = trimmed(found["label"]), plain(found["separator"])
        value = trimmed(found["value"])
        feed = vocabulary.feed_of(label)
        if feed is not None:
            return Pair(label, separator, value, feed)
        if _is_label(label, found["value"]) and not is_inside_ticker(
            line, found.start("separator"), vocabulary
        ):
            return _emoji_ticker(line, vocabulary) or Pair(label, separator, value, None)
    return _split_emoji(line, vocabulary)


def _split_emoji(line: str, vocabulary: Vocabulary) -> Pair | None:
    """An emoji is a label only on a line without a text label."""
    lead = _EMOJIS.match(line)
    emoji = vocabulary.emoji.search(lead[0][:_EMOJIS_SEARCHED]) if lead else None
    if lead is None or emoji is None:
        return None
    return Pair(emoji[0], "", line[lead.end() :].lstrip(":=：＝ "), vocabulary.emojis[emoji[0]])


def _emoji_ticker(line: str, vocabulary: Vocabulary) -> Pair | None:
    """`🪙 XYZ:7203` could be a label `XYZ`; behind the ticker's emoji it is a ticker."""
    pair = _split_emoji(line, vocabulary)
    is_ticker = pair is not None and pair.feed is not None and pair.feed.field is Field.TICKER
    return pair if pair and is_ticker and read_ticker(pair.value).value else None


def _is_label(label: str, value: str) -> bool:
    """Whether text before a colon or equals sign reads like a label nobody told us of."""
    if len(label) > _LONGEST_FREE_LABEL or len(label.split()) > _MOST_LABEL_WORDS:
        return False
    if label.upper() == label.lower() or _NO_LABEL.search(label) or value.startswith("="):
        return False
    return not (_CLOCK_BEFORE.search(label) and _CLOCK_AFTER.match(value))


def _headline(line: str) -> str | None:
    """A first line that names something: not a bare number, an unset plot or the ticker itself."""
    name = trimmed(without_outer_emojis(line))
    has_letter = name.upper() != name.lower()
    is_ticker = ":" in name and len(name) <= MAX_TICKER and read_ticker(name).value is not None
    return name if has_letter and not is_empty(name) and not is_ticker else None
