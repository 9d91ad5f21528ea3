"""The text rules: labelled lines, `KEY=VALUE` pairs and what is left. Pure, linear."""

import re
from functools import lru_cache
from typing import Final

import msgspec

from processors.characters import EDGES, EMOJI, composed, is_composed, trimmed, without_outer_emojis
from processors.patterns import atomic
from processors.reading import MAX_LABELLED, Feed, Field, Reading, is_empty
from processors.secrecy import SECRET_LABELS
from processors.symbols import MAX_TICKER, is_inside_ticker, read_ticker
from processors.vocabulary import Vocabulary, fold
from schemas.records import SourceFormat, Warning_

# In Python 3.11 a member of an enum costs six times a global to reach, and these are reached for every line.
_FREE_TEXT: Final = SourceFormat.FREE_TEXT
_LABELLED_TEXT: Final = SourceFormat.LABELLED_TEXT

_LINE_BREAKS: Final = re.compile("[\r\n\v\f\x85\u2028\u2029]\\s*+")
_PAIR_BREAKS: Final = re.compile(r"\s*+;[;\s]*+")

_KEYCAP: Final = r"[0-9#*]\ufe0f?\u20e3"
# before a label: emojis, spaces, bullets; not quotes, brackets and currency signs
_LEAD: Final = atomic(rf"(?:[^\w\"'“”‘’{{}}\[\]()<>$€£:=：＝]++|{_KEYCAP})*", "lead")
_HEAD: Final = re.compile(rf"{_LEAD}(?P<label>[^\"'“”‘’{{}}].{{0,63}})", re.DOTALL)
_SEPARATOR: Final = re.compile("[:=：＝]")
_SEPARATORS: Final = {":": ":", "=": "=", "：": ":", "＝": "="}
_LONGEST_KEPT_HEAD: Final = 128
_EMOJIS: Final = re.compile(rf"(?:[{EMOJI}\s\u200b-\u200f]++|{_KEYCAP})+")
_EMOJIS_SEARCHED: Final = 64

_LONGEST_FREE_LABEL: Final = 40
_MOST_LABEL_WORDS: Final = 5
_NO_LABEL: Final = re.compile(r"[,;?!\"“”{}<>|\\]")
_CLOCK_BEFORE: Final = re.compile(r"(?:^|\s|[0-9]T)[0-9]{1,2}$", re.IGNORECASE)
_CLOCK_AFTER: Final = re.compile(r"[0-9]{2}(?![0-9])")
_PINE_WRAPPING: Final = re.compile(r"\s*+\{[^\n]{0,1024}?\"symbol\"")


class Pair(msgspec.Struct, frozen=True, gc=False):
    """A labelled value. `feed` is none when the label is not in the vocabulary."""

    label: str
    separator: str
    value: str
    feed: Feed | None


class _Head(msgspec.Struct, frozen=True):
    """What stands before a line's first separator. Without a feed it may still read like a label."""

    label: str
    feed: Feed | None
    reads_like_label: bool
    ends_in_clock: bool


def read_text(text: str, vocabulary: Vocabulary) -> Reading:
    """Read a text line by line. Lines beyond the 2,048th that is not blank are left unread."""
    reading = Reading(_FREE_TEXT)
    lines = _LINE_BREAKS.split(text.strip(EDGES), MAX_LABELLED)
    if len(lines) > MAX_LABELLED:
        reading.warnings.add(Warning_.TRUNCATED_FIELDS)
        del lines[MAX_LABELLED:]
    if not is_composed(text):
        lines = [composed(line) for line in lines]
    pairs_only = True
    for untrimmed in lines:
        line = untrimmed.strip(EDGES)
        pair = _split_label(line, vocabulary) if line else None
        if pair is not None:
            reading.format = _LABELLED_TEXT
            pairs_only = pairs_only and pair.separator == "="
            if pair.separator == "=" and ";" in pair.value:
                _place_parts(line, pair, reading, vocabulary)
            else:
                place_pair(pair, reading)
        elif line:
            pairs_only = False
            _place_line(line, reading)
    if pairs_only and reading.format is _LABELLED_TEXT:
        reading.format = SourceFormat.KEY_VALUE
    return reading


def place_pair(pair: Pair, reading: Reading) -> None:
    """Sort a labelled value into the reading. Secrets and their labels are dropped."""
    if pair.feed is not None:
        reading.feed(pair.feed, pair.value)
    elif fold(pair.label) not in SECRET_LABELS:
        reading.others.setdefault(pair.label, pair.value)
    reading.searchable.append(pair.value)


def _place_parts(line: str, first: Pair, reading: Reading, vocabulary: Vocabulary) -> None:
    """`A=1;B=2` holds several values; in `A=one; two` the semicolon belongs to the one."""
    parts = [
        (part, _split_label(part, vocabulary)) for part in _PAIR_BREAKS.split(line, MAX_LABELLED) if part
    ]
    if _pairs_in(parts) == 1 < len(parts):
        place_pair(first, reading)
        return
    for part, pair in parts:
        if pair is not None:
            place_pair(pair, reading)
        else:
            _place_line(part, reading)


def _pairs_in(parts: list[tuple[str, Pair | None]]) -> int:
    return sum(pair is not None and pair.separator == "=" for _, pair in parts)


def _place_line(line: str, reading: Reading) -> None:
    if reading.searchable:
        reading.signal_lines.append(line)
    else:
        reading.headline = _headline(line) if len(line) > _LONGEST_KEPT_HEAD else _kept_headline(line)
    reading.lines.append(line)
    reading.searchable.append(line)


def _split_label(line: str, vocabulary: Vocabulary) -> Pair | None:
    found = _SEPARATOR.search(line)
    if found is not None:
        colon = found.start()
        read = _kept_head if colon <= _LONGEST_KEPT_HEAD else _read_head
        head = read(line[:colon], vocabulary)
        if head is not None:
            pair = Pair(head.label, _SEPARATORS[found[0]], line[colon + 1 :].strip(EDGES), head.feed)
            if head.feed is not None:
                return pair
            if _is_label(head, line, colon) and not is_inside_ticker(line, colon, vocabulary):
                return _emoji_ticker(line, vocabulary) or pair
    return _split_emoji(line, vocabulary)


def _read_head(head: str, vocabulary: Vocabulary) -> _Head | None:
    found = _HEAD.fullmatch(head)
    if found is None:
        return None
    label = found["label"].strip(EDGES)
    reads_like_label = (
        len(label) <= _LONGEST_FREE_LABEL
        and len(label.split()) <= _MOST_LABEL_WORDS
        and label.upper() != label.lower()
        and not _NO_LABEL.search(label)
    )
    ends_in_clock = _CLOCK_BEFORE.search(label) is not None
    return _Head(label, vocabulary.feed_of(label), reads_like_label, ends_in_clock)


# Labels and headlines are the same from alert to alert.
_kept_head: Final = lru_cache(maxsize=4096)(_read_head)


def _split_emoji(line: str, vocabulary: Vocabulary) -> Pair | None:
    """An emoji is a label only on a line without a text label."""
    if line[:1].isascii() and line[:1].isalpha():
        return None
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


def _is_label(head: _Head, line: str, colon: int) -> bool:
    """Whether text before a colon or equals sign reads like a label nobody told us of."""
    if not head.reads_like_label or line.startswith(("=", "//"), colon + 1):
        return False
    if line[colon] == "=" and _PINE_WRAPPING.match(line, colon + 1):
        return False
    return not (head.ends_in_clock and _CLOCK_AFTER.match(line, colon + 1))


def _headline(line: str) -> str | None:
    """A first line that names something: not a bare number, an unset plot or the ticker itself."""
    name = trimmed(without_outer_emojis(line))
    has_letter = name.upper() != name.lower()
    is_ticker = ":" in name and len(name) <= MAX_TICKER and read_ticker(name).value is not None
    return name if has_letter and not is_empty(name) and not is_ticker else None


_kept_headline: Final = lru_cache(maxsize=1024)(_headline)
