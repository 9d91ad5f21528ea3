"""Classes of characters the parser tells apart, and the plain forms it compares in. Pure, linear."""

import re
import unicodedata
from functools import cache
from typing import Final

_INVISIBLE: Final = "\0\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff" + "".join(
    map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
)
EDGES: Final = "".join(filter(str.isspace, map(chr, range(0x3001)))) + _INVISIBLE
"""White space, zero-width and bidi marks and NUL: what is dropped at both ends of a value."""

_AROUND_VALUES: Final = EDGES + "\"'`*"

EMOJI: Final = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff\ufe0e\ufe0f\u200d\u20e3\U000e0020-\U000e007f"
)
"""The inside of a regular expression's character class: emojis, their joiners and variation selectors."""

_QUOTES: Final = {**dict.fromkeys("“”„‟«»″＂", '"'), **dict.fromkeys("‘’‚‛′＇", "'")}
_PLAIN: Final = (
    _QUOTES | {chr(0xFF10 + digit): str(digit) for digit in range(10)} | {"：": ":", "＝": "=", "−": "-"}
)
_NOT_PLAIN: Final = re.compile(f"[{''.join(_PLAIN)}]")
_OUTER_EMOJIS: Final = re.compile(rf"(?:[{EMOJI}\s]++|[0-9#*]\ufe0f?\u20e3)*")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")

# windows-1252 as browsers read it: the five bytes it leaves open stand for themselves
_WINDOWS_1252: Final = {
    ord(bytes([byte]).decode("cp1252")): byte
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_DOUBLE_ENCODED: Final = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf" + "".join(map(chr, _WINDOWS_1252)).replace("^", r"\^") + "]"
)

_LONG_FOREIGN_RUN: Final = re.compile("[^\0-\u02ff]{31}")


def trimmed(text: str) -> str:
    """Without white space and invisible characters at both ends."""
    return text.strip(EDGES)


def plain(text: str) -> str:
    """Full-width digits, colons and equals signs as ASCII, typographic quotes and minus as plain ones."""
    if text.isascii() or not _NOT_PLAIN.search(text):
        return text
    # `translate` looks up each character and takes many times as long
    for char, as_ascii in _PLAIN.items():
        text = text.replace(char, as_ascii)
    return text


def bare(text: str) -> str:
    """A typed value as the rules for it compare: plain, without emojis, quotes and Markdown around it."""
    text = without_outer_emojis(plain(for_matching(trimmed(text))))
    return text.strip(_AROUND_VALUES)


def without_outer_emojis(text: str) -> str:
    """Without emojis and white space at both ends."""
    if text.isascii():
        return text.strip()
    text = text[_end_of_emojis(text) :]
    return text[: len(text) - _end_of_emojis(text[::-1])]


def storable(text: str) -> str:
    """NUL and lone surrogates as U+FFFD; the very same object when there are none."""
    if "\0" in text:
        return _UNSTORABLE.sub("\ufffd", text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _UNSTORABLE.sub("\ufffd", text)
    return text


def for_matching(text: str) -> str:
    """What the rules compare: double encoding undone where that is unambiguous, and in NFC."""
    return text if text.isascii() else composed(decoded_once_more(text))


def decoded_once_more(text: str) -> str:
    """Double encoding undone, if that explains all of the text."""
    if not _DOUBLE_ENCODED.search(text):
        return text
    try:
        return text.translate(_WINDOWS_1252).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def is_composed(text: str) -> bool:
    """Whether the text is in NFC."""
    return text.isascii() or unicodedata.is_normalized("NFC", text)


def composed(text: str) -> str:
    """In NFC."""
    if is_composed(text) or _has_absurd_marks(text):
        return text
    return unicodedata.normalize("NFC", text)


def _end_of_emojis(text: str) -> int:
    found = _OUTER_EMOJIS.match(text)
    return found.end() if found else 0


def _has_absurd_marks(text: str) -> bool:
    # Python's normalization takes quadratic time on long runs of combining marks. No language has runs
    # above the 30 of Unicode's Stream-Safe Text Format, so such a text is compared as it is.
    return bool(_LONG_FOREIGN_RUN.search(text)) and bool(_long_run_of_marks().search(text))


@cache
def _long_run_of_marks() -> re.Pattern[str]:
    marks = "".join(filter(unicodedata.combining, map(chr, range(0x300, 0x10000))))
    # All characters beyond the 16-bit ones count as marks here: a class of many such ranges is slow.
    beyond = "\U00010000-\U0010ffff"
    return re.compile(f"(?<![{marks}{beyond}])[{marks}{beyond}]{{31}}")
