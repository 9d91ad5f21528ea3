"""What is wrong with an indicator file. Pure."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, TypeAlias

from processors.characters import composed, without_outer_emojis
from processors.indicators.places import Place
from processors.reading import Field
from processors.secrecy import SECRET_LABELS
from processors.vocabulary import LONGEST_LABEL, MAX_SPELLINGS, fold
from schemas.records import Direction

MAX_REVISION: Final = 9_999

_FIELDS: Final = tuple(field.value for field in Field)
_DIRECTIONS: Final = tuple(direction.value for direction in Direction)
_LISTS: Final = ("exchanges", "currencies")
_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "recognise": ("names",),
    "labels": _FIELDS,
    "emojis": _FIELDS,
    "directions": _DIRECTIONS,
    "marks": _DIRECTIONS,
}
_KEYS: Final = ("revision", *_TABLES, *_LISTS)
_LONGEST_SHOWN: Final = 60

Finding: TypeAlias = tuple[Place, str]


class Problem(NamedTuple):
    """`line` counts from 1; none if it is the file or folder itself."""

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{'' if self.line is None else f'{self.line}:'} {self.reason}"


def without_variant(emoji: str) -> str:
    """Without the mark that asks for a coloured picture: keyboards add it, messages may lack it."""
    return emoji.replace("\ufe0f", "")


def findings_of(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything that is wrong with a file's content, each with the place of the key or value."""
    if "revision" not in data:
        yield (), "revision is missing: a whole number, raised with each change"
    for key, value in data.items():
        if key == "revision":
            yield from _revision(value)
        elif key in _TABLES:
            yield from _table(key, value)
        elif key in _LISTS:
            yield from _list((key,), value)
        else:
            yield (key,), _unknown(key, "key", _KEYS)
    yield from _values(data)
    yield from _ambiguities(data)


def _revision(value: object) -> Iterator[Finding]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield ("revision",), f"revision must be a whole number, not {_shown(value)}"
    elif not 1 <= value <= MAX_REVISION:
        yield ("revision",), f"revision must be from 1 to {MAX_REVISION}"


def _table(name: str, value: object) -> Iterator[Finding]:
    if not isinstance(value, dict):
        yield (name,), f"{name} must be a table that begins with [{name}]"
        return
    if name == "recognise" and not value.get("names"):
        place = tuple(key for key in ("recognise", "names") if key == name or key in value)
        yield place, "recognise.names must hold a name"
    for key, items in value.items():
        if key in _TABLES[name]:
            yield from _list((name, key), items)
        else:
            yield (name, key), _unknown(key, f"key of [{name}]", _TABLES[name])


def _list(place: Place, value: object) -> Iterator[Finding]:
    if not isinstance(value, list):
        yield place, f'{_dotted(place)} must be a list of texts, as ["…"], not {_shown(value)}'
        return
    if place[0] in ("labels", "emojis") and len(value) > MAX_SPELLINGS:
        yield place, f"{_dotted(place)} has more than {MAX_SPELLINGS} spellings"
    for number, item in enumerate(value):
        if not isinstance(item, str):
            yield (*place, number), f"{_dotted(place)}: {_shown(item)} is no text in quotes"


def _values(data: Mapping[str, Any]) -> Iterator[Finding]:
    for name, reason_of in _REASONS.items():
        for place, text in _texts(data, name):
            if reason := reason_of(text):
                yield place, f"{_dotted(place[:-1])}: {_shown(text)} {reason}"


def _ambiguities(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Spellings that would mean two things in one file."""
    for name, key in _SAMENESS.items():
        meanings: dict[str, str | int] = {}
        for place, text in _texts(data, name):
            known = meanings.setdefault(key(text), place[1])
            if known != place[1] and key(text):
                yield place, f"{name}: {_shown(text)} is both {known} and {place[1]}"


def _texts(data: Mapping[str, Any], name: str) -> Iterator[tuple[Place, str]]:
    """The texts of a table or list, as far as it is well-formed."""
    value = data.get(name)
    lists: dict[Place, object] = {(name,): value}
    if isinstance(value, dict):
        lists = {(name, key): items for key, items in value.items() if key in _TABLES.get(name, ())}
    for place, items in lists.items():
        for number, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, str):
                yield (*place, number), item


def _label(text: str) -> str | None:
    if text.rstrip().endswith((":", "=", "：", "＝")):
        return "is written without the sign that follows it"
    if fold(text) in SECRET_LABELS:
        return "is a label of secrets, whose values are never read"
    return None if fold(text) else f"is no label of 1 to {LONGEST_LABEL} characters"


def _emoji(text: str) -> str | None:
    is_emoji = without_variant(text).strip() and not without_outer_emojis(text)
    return None if is_emoji else "is no emoji"


def _word(text: str) -> str | None:
    if not text.strip():
        return "is no word"
    return None if without_outer_emojis(text) else "is no word: put it under [marks]"


def _mark(text: str) -> str | None:
    if not without_variant(text).strip():
        return "is no mark"
    return "is a word: put it under [directions]" if any(map(str.isalpha, text)) else None


def _name(text: str) -> str | None:
    return None if without_outer_emojis(text) else "is no name: it needs more than spaces and emojis"


def _exchange(text: str) -> str | None:
    is_prefix = text.isascii() and text.replace("_", "").isalnum()
    return None if is_prefix else "is no prefix of tickers: letters, digits and _"


def _currency(text: str) -> str | None:
    return None if text.isalpha() else "is no code of letters"


_REASONS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "recognise": _name,
    "labels": _label,
    "emojis": _emoji,
    "directions": _word,
    "marks": _mark,
    "exchanges": _exchange,
    "currencies": _currency,
}
_SAMENESS: Final[Mapping[str, Callable[[str], str]]] = {
    "labels": fold,
    "emojis": without_variant,
    "directions": lambda word: composed(word).casefold(),
    "marks": without_variant,
}


def _unknown(key: str, what: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, n=1)
    meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return f"{_shown(key)} is no {what}; {meant}"


def _dotted(place: Place) -> str:
    return ".".join(map(str, place))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
