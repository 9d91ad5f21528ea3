"""Which form a message has: JSON, pairs, labelled text or free text. Pure, linear."""

import sys
from functools import lru_cache
from typing import Final

import msgspec

from processors.characters import EDGES, decoded_once_more, for_matching, plain, trimmed
from processors.decode import without_outer_quotes
from processors.extract import read_text
from processors.fragments import read_fragments
from processors.jsontext import JsonValue, compact, looks_like_json, read_json
from processors.reading import MAX_LABELLED, Feed, Field, Reading
from processors.secrecy import SECRET_LABELS, mask_named, mask_values
from processors.vocabulary import Vocabulary, fold
from schemas.records import SourceFormat, Warning_

MAX_WRITTEN: Final = 1100
"""Characters of a container that are written out as text: a little more than is ever kept."""

_LONGEST_KEPT_KEYS: Final = 1024
_MOST_SEARCHED: Final = 65_536
_JSON: Final = SourceFormat.JSON  # members of an enum are slow to reach in Python 3.11
_JSON_STARTS: Final = ("{", "[", '"')


class Recognised(msgspec.Struct, frozen=True, gc=False):
    """A reading and the text that is shown to people: without secrets, otherwise as sent."""

    reading: Reading
    message: str


class _Key(msgspec.Struct, frozen=True):
    """What a key of an object means."""

    name: str
    feed: Feed | None
    is_message: bool


class _Keys(msgspec.Struct):
    """What the keys of an object say."""

    reading: Reading
    secrets: list[str] = []
    message: str | None = None
    message_rank: int = sys.maxsize


def recognise(text: str, vocabulary: Vocabulary) -> Recognised:
    """Read a decoded body. The content type has no say."""
    body = trimmed(text)
    value: JsonValue = None
    if body.startswith(_JSON_STARTS):
        try:
            value = read_json(body)
        except ValueError:
            if looks_like_json(body):
                return _read_broken(text, vocabulary)
    if isinstance(value, dict):
        return _read_object(value, text, vocabulary)
    if isinstance(value, list) and (found := _read_array(value, text, vocabulary)):
        return found
    message = mask_named(text)
    if isinstance(value, str):
        inner, secrets = _read_inner(value, mask_named(value), vocabulary)
        return Recognised(inner, mask_values(message, secrets))
    reading = read_text(decoded_once_more(without_outer_quotes(message)), vocabulary)
    if isinstance(value, list):
        reading.headline = None
    return Recognised(reading, message)


def _read_broken(text: str, vocabulary: Vocabulary) -> Recognised:
    message = mask_named(text)
    return Recognised(read_fragments(trimmed(plain(for_matching(message))), vocabulary), message)


def _read_array(value: list[JsonValue], text: str, vocabulary: Vocabulary) -> Recognised | None:
    """The one object of an array; none if the array holds no object."""
    objects = [item for item in value if isinstance(item, dict)]
    if len(objects) > 1:
        reading = Reading(SourceFormat.JSON, warnings={Warning_.MULTIPLE_ALERTS})
        return Recognised(reading, mask_named(text))
    return _read_object(objects[0], text, vocabulary) if objects else None


def _read_object(alert: dict[str, JsonValue], text: str, vocabulary: Vocabulary) -> Recognised:
    found = _read_keys(alert, vocabulary)
    reading, secrets = found.reading, found.secrets
    message = mask_named(text if found.message is None else found.message)
    if found.message is not None:
        inner, inner_secrets = _read_inner(found.message, message, vocabulary)
        reading.fill_from(inner)
        secrets += inner_secrets
    return Recognised(reading, mask_values(message, secrets) if secrets else message)


def _read_inner(text: str, masked: str, vocabulary: Vocabulary) -> tuple[Reading, list[str]]:
    """A text inside JSON and its secrets: by the text rules, unless all of it is an object itself."""
    alert = _object_in(text)
    if alert is None:
        return read_text(decoded_once_more(masked), vocabulary), []
    found = _read_keys(alert, vocabulary)
    return found.reading, found.secrets


def _object_in(text: str) -> dict[str, JsonValue] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = read_json(trimmed(text))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_keys(alert: dict[str, JsonValue], vocabulary: Vocabulary) -> _Keys:
    found = _Keys(Reading(_JSON))
    reading = found.reading
    if len(alert) > MAX_LABELLED:
        reading.warnings.add(Warning_.TRUNCATED_FIELDS)
    others: list[tuple[str, JsonValue]] = []
    for key, value in zip(_keys_of(alert, vocabulary), alert.values(), strict=False):
        if key.feed is None:
            others.append((key.name, value))
        elif key.is_message:
            _place_message(key.feed, value, found)
        elif text := value.strip(EDGES) if isinstance(value, str) and value.isascii() else _text_of(value):
            reading.feed(key.feed, text)
            reading.searchable.append(text)
    if others:
        _place_others(others, found)
    return found


def _keys_of(alert: dict[str, JsonValue], vocabulary: Vocabulary) -> tuple[_Key, ...]:
    """What the keys mean, the 2,049th and all after it aside."""
    written = tuple(alert)
    if len("".join(written)) <= _LONGEST_KEPT_KEYS:
        return _kept_keys(written, vocabulary)
    return _read_keys_of(written[:MAX_LABELLED], vocabulary)


def _read_keys_of(written: tuple[str, ...], vocabulary: Vocabulary) -> tuple[_Key, ...]:
    return tuple(_read_key(key, vocabulary) for key in written)


# Keys are the same from alert to alert, and in the same order.
_kept_keys: Final = lru_cache(maxsize=256)(_read_keys_of)


def _read_key(written: str, vocabulary: Vocabulary) -> _Key:
    name = trimmed(for_matching(written))
    feed = vocabulary.feed_of(name)
    return _Key(name, feed, feed is not None and feed.field is Field.MESSAGE)


def _place_message(feed: Feed, value: JsonValue, found: _Keys) -> None:
    """Of several messages the best one counts, and only if it is text."""
    if isinstance(value, str) and feed.rank < found.message_rank:
        found.message, found.message_rank = value, feed.rank


def _text_of(value: JsonValue) -> str:
    """Empty for what is no value of any field: `null`, `true` and `false`."""
    if value is None or isinstance(value, bool):
        return ""
    return for_matching(value if isinstance(value, str) else _written(value)).strip(EDGES)


def _place_others(others: list[tuple[str, JsonValue]], found: _Keys) -> None:
    """Secrets first: their values may stand in the others."""
    secret = [value for name, value in others if fold(name) in SECRET_LABELS]
    found.secrets += [text for value in secret if (text := compact(value, MAX_WRITTEN))]
    for name, value in others:
        if fold(name) not in SECRET_LABELS:
            _place_other(name, value, found)


def _place_other(name: str, value: JsonValue, found: _Keys) -> None:
    text = None
    if value is not None:
        written = value[:_MOST_SEARCHED] if isinstance(value, str) else _written(value)
        text = trimmed(for_matching(mask_values(mask_named(written), found.secrets)))
        found.reading.searchable.append(text)
    found.reading.others.setdefault(name, text)


def _written(value: JsonValue) -> str:
    return value.decode() if isinstance(value, bytes) else compact(value, MAX_WRITTEN) or ""
