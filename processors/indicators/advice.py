"""What to change so that a message is read better. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from processors.indicators.origins import Origins, quoted
from processors.reading import Field
from schemas.records import Direction, Signal, Warning_

_MOST_SHOWN: Final = 8

_WARNINGS: Final[Mapping[Warning_, str]] = {
    Warning_.AMBIGUOUS_NUMBER: "the price's only comma stands before three digits: a thousands mark",
    Warning_.CONFLICTING_DIRECTION: "words of several directions stand side by side, so there is none",
    Warning_.INVALID_CHART: "a chart id is not 4 to 32 letters and digits, and was passed over",
    Warning_.INVALID_NUMBER: "beside the price's number stands text that is no currency: shorten the value, "
    "or put the code under currencies",
    Warning_.INVALID_TICKER: "the ticker is not PREFIX:SYMBOL, SYMBOL or a spread of them",
    Warning_.INVALID_TIME: "a time is neither ISO 8601 nor Unix seconds or milliseconds",
    Warning_.INVALID_UTF8: "some bytes are not UTF-8 and became U+FFFD",
    Warning_.MALFORMED_JSON: "it begins like JSON but is broken: pairs that are whole were read",
    Warning_.MULTIPLE_ALERTS: "an array of several alerts is not read: send one a message",
    Warning_.NAIVE_TIME: "a time has no zone and was read as UTC",
    Warning_.NUMBER_OUT_OF_RANGE: "the price has more than 38 digits or an exponent beyond ±30",
    Warning_.REPLACED_CHARACTERS: "characters that cannot be stored became U+FFFD",
    Warning_.TRUNCATED_FIELDS: "a value, or the number of values or lines, is above its bound",
    Warning_.TRUNCATED_MESSAGE: "the message is longer than is kept",
    Warning_.UNRESOLVED_PLACEHOLDER: "a value still holds {{…}}: TradingView does not know that placeholder",
}


def advice_on(signal: Signal, origins: Origins, recognised_by: Sequence[str]) -> list[str]:
    """What is missing and what would supply it, then a line for each warning. Empty: nothing to do."""
    file = next(iter(recognised_by), "a file")
    return [
        *_on_recognition(signal, recognised_by),
        *(_no_label(field, origins, file) for field in _missing(signal, origins)),
        *_on_direction(signal, origins, file),
        *(f"{warning}: {_WARNINGS[warning]}" for warning in signal.warnings),
    ]


def _on_recognition(signal: Signal, recognised_by: Sequence[str]) -> Iterator[str]:
    if len(recognised_by) > 1:
        others = ", ".join(recognised_by[1:])
        yield f"{others} would recognise it too: the longest name wins, then your file, then the file's name"
    if signal.indicator is None:
        yield "no indicator: neither a label for it nor a first line without a label"
    elif not recognised_by:
        name = quoted(signal.indicator)
        yield f"no file recognises {name}: to give it words of its own, put its name under [recognise] names"


def _missing(signal: Signal, origins: Origins) -> Iterator[Field]:
    """Fields that `parsed` needs and that nothing in the message feeds."""
    if signal.ticker is None and origins.given(Field.TICKER) is None:
        yield Field.TICKER
    if origins.given(Field.PRICE) is None:
        yield Field.PRICE
    if not (signal.signal_type or signal.direction) and origins.given(Field.SIGNAL_TYPE) is None:
        yield Field.SIGNAL_TYPE


def _no_label(field: Field, origins: Origins, file: str) -> str:
    reading = origins.reading
    lines = _listed(reading.lines[1:] if reading.headline else reading.lines)
    return (
        f"no label for {field}; unlabelled lines: {lines}; labels no file knows: {_listed(reading.others)}. "
        f"In {file}, put its label under [labels] {field}, or the emoji its line begins with "
        f"under [emojis] {field}"
    )


def _on_direction(signal: Signal, origins: Origins, file: str) -> Iterator[str]:
    places = list(filter(None, origins.direction_places()))
    if signal.direction is None and places and Warning_.CONFLICTING_DIRECTION not in signal.warnings:
        yield (
            f"no word or mark of a direction in {_listed(places)}. "
            f"In {file}, put one under [directions] or [marks], as {' or '.join(Direction)}"
        )


def _listed(texts: Sequence[str] | Mapping[str, object]) -> str:
    """Some of the texts, and how many more there are."""
    shown = [quoted(text) for text in list(texts)[:_MOST_SHOWN]]
    more = len(texts) - len(shown)
    return ", ".join(shown + ([f"and {more} more"] if more else [])) or "none"
