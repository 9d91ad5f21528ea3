"""Which form a message has: JSON, pairs, labelled text or free text. Pure, linear."""

from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

from processors.characters import decoded_once_more, for_matching, plain, trimmed
from processors.decode import without_outer_quotes
from processors.extract import read_text
from processors.fragments import read_fragments
from processors.jsontext import JsonValue, compact, looks_like_json, read_json
from processors.reading import MAX_LABELLED, Field, Reading
from processors.secrecy import SECRET_LABELS, mask_named, mask_values
from processors.vocabulary import Vocabulary, fold
from schemas.records import SourceFormat, Warning_

MAX_WRITTEN: Final = 1100
"""Characters of a container that are written out as text: a little more than is ever kept."""

_JSON_STARTS: Final = ("{", "[", '"')


class Recognised(NamedTuple):
    """A reading and the text that is shown to people: without secrets, otherwise as sent."""

    reading: Reading
    message: str


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
    if isinstance(value, dict | list) and (found := _read_container(value, text, vocabulary)):
        return found
    message = mask_named(text)
    if isinstance(value, str):
        return Recognised(_read_inner(value, vocabulary), message)
    reading = read_text(decoded_once_more(without_outer_quotes(message)), vocabulary)
    if isinstance(value, list):
        reading.headline = None
    return Recognised(reading, message)


def _read_broken(text: str, vocabulary: Vocabulary) -> Recognised:
    message = mask_named(text)
    return Recognised(read_fragments(trimmed(plain(for_matching(message))), vocabulary), message)


def _read_container(
    value: dict[str, JsonValue] | list[JsonValue], text: str, vocabulary: Vocabulary
) -> Recognised | None:
    """An object, or the one object of an array; none if the array holds no object."""
    if isinstance(value, dict):
        return _read_object(value, text, vocabulary)
    objects = [item for item in value if isinstance(item, dict)]
    if len(objects) > 1:
        reading = Reading(SourceFormat.JSON, warnings={Warning_.MULTIPLE_ALERTS})
        return Recognised(reading, mask_named(text))
    return _read_object(objects[0], text, vocabulary) if objects else None


def _read_object(alert: dict[str, JsonValue], text: str, vocabulary: Vocabulary) -> Recognised:
    reading = _read_keys(alert, vocabulary)
    inner = _message_of(alert, vocabulary)
    if inner is not None:
        reading.fill_from(_read_inner(inner, vocabulary))
    message = mask_values(mask_named(text if inner is None else inner), _secrets_of(alert))
    return Recognised(reading, message)


def _read_inner(text: str, vocabulary: Vocabulary) -> Reading:
    """A text inside JSON: by the text rules, unless all of it is an object itself."""
    if text.lstrip().startswith("{"):
        try:
            value = read_json(trimmed(text))
        except ValueError:
            value = None
        if isinstance(value, dict):
            return _read_keys(value, vocabulary)
    return read_text(decoded_once_more(mask_named(text)), vocabulary)


def _read_keys(alert: dict[str, JsonValue], vocabulary: Vocabulary) -> Reading:
    reading = Reading(SourceFormat.JSON)
    if len(alert) > MAX_LABELLED:
        reading.warnings.add(Warning_.TRUNCATED_FIELDS)
    secrets = _secrets_of(alert)
    for key, value in islice(alert.items(), MAX_LABELLED):
        name = trimmed(for_matching(key))
        feed = vocabulary.feed_of(name)
        if feed is None:
            _place_other(name, value, secrets, reading)
        elif feed.field is not Field.MESSAGE and not isinstance(value, bool):
            text = trimmed(for_matching(compact(value, MAX_WRITTEN) or ""))
            reading.feed(feed, text)
            reading.searchable.append(text)
    return reading


def _place_other(key: str, value: JsonValue, secrets: list[str], reading: Reading) -> None:
    if fold(key) in SECRET_LABELS:
        return
    text = compact(value, MAX_WRITTEN)
    if text is not None:
        text = trimmed(for_matching(mask_values(mask_named(text), secrets)))
        reading.searchable.append(text)
    reading.others.setdefault(key, text)


def _message_of(alert: dict[str, JsonValue], vocabulary: Vocabulary) -> str | None:
    """The text of the best key that feeds the message, if it is text."""
    texts = [
        (feed.rank, value)
        for key, value in islice(alert.items(), MAX_LABELLED)
        if isinstance(value, str) and (feed := vocabulary.feed_of(key)) and feed.field is Field.MESSAGE
    ]
    return min(texts, key=itemgetter(0))[1] if texts else None


def _secrets_of(alert: dict[str, JsonValue]) -> list[str]:
    named = (alert[key] for key in islice(alert, MAX_LABELLED) if fold(key) in SECRET_LABELS)
    return [text for value in named if (text := compact(value, MAX_WRITTEN))]
