"""Which words of a message a field was read from. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from processors.charts import choose_chart
from processors.indicators.files import IndicatorFile
from processors.reading import Feed, Field, Reading
from processors.vocabulary import Vocabulary, fold, whole_words
from schemas.records import Direction, Signal

_LONGEST_SHOWN: Final = 80


class Given(NamedTuple):
    """A labelled value as it was sent. `label` is as the file spells it: `label 'precio'`, `emoji 💰`."""

    label: str
    text: str

    def __str__(self) -> str:
        return f"{self.label}: {quoted(self.text)}"


class Origins:
    """Where the fields of a message come from.

    `vocabulary` is the one the reading was made with; `files` are those it was compiled from.
    """

    def __init__(self, reading: Reading, vocabulary: Vocabulary, files: Sequence[IndicatorFile]) -> None:
        self.reading = reading
        self.vocabulary = vocabulary
        spellings = {fold(name): name for file in files for names in file.labels.values() for name in names}
        self._labels: dict[Feed, str] = {
            **{feed: f"label {spellings.get(name, name)!r}" for name, feed in vocabulary.labels.items()},
            **{feed: f"emoji {emoji}" for emoji, feed in vocabulary.emojis.items()},
        }

    def given(self, *fields: Field) -> Given | None:
        """The value that counts for the first of the fields that has one."""
        for field in fields:
            found = self.reading.values.get(field)
            if found:
                rank, text = min(found, key=lambda value: value[0])
                return Given(self._labels.get(Feed(field, rank), "label"), text)
        return None

    def indicator(self) -> str:
        headline = self.reading.headline
        return self._text(Field.INDICATOR) or (f"the first line: {quoted(headline)}" if headline else "")

    def ticker(self, signal: Signal) -> str:
        if self.given(Field.TICKER) or signal.ticker is None:
            return self._text(Field.TICKER)
        place = next((text for text in self.reading.searchable if signal.ticker in text.upper()), "")
        return f"found in the text: {quoted(place)}" if place else "found in the text"

    def exchange(self, signal: Signal) -> str:
        of_ticker = signal.ticker is not None and signal.ticker != signal.symbol
        return "the ticker" if of_ticker else self._text(Field.EXCHANGE)

    def price(self) -> str:
        return self._text(Field.PRICE)

    def interval(self) -> str:
        return self._text(Field.INTERVAL)

    def triggered_at(self) -> str:
        return self._text(Field.TRIGGERED_AT, Field.TIME)

    def bar_time(self) -> str:
        """A plain `time` is the bar's only beside a trigger time."""
        beside = [Field.TIME] if self.given(Field.TRIGGERED_AT) else []
        return self._text(Field.BAR_TIME, *beside)

    def signal_type(self, signal: Signal) -> str:
        told = "the line that tells the direction" if signal.signal_type else ""
        return self._text(Field.SIGNAL_TYPE) or told

    def direction(self) -> str:
        """The field of its own if it says anything, else the words and marks that do."""
        own = self.given(Field.DIRECTION)
        if own and self._signs([own.text]):
            return str(own)
        signs = self._signs(self.direction_places())
        return f"{', '.join(signs)} in {self._place()}" if signs else str(own or "")

    def direction_places(self) -> list[str]:
        """The texts whose words and marks tell the direction."""
        labelled = self.given(Field.SIGNAL_TYPE)
        return [labelled.text] if labelled else self.reading.lines

    def chart(self, signal: Signal, query: str) -> str:
        if signal.chart_id and choose_chart(query, [], [], None).value == signal.chart_id:
            return "the URL's query"
        given = self.given(Field.CHART)
        if given and (signal.chart_id is None or signal.chart_id in given.text):
            return str(given)
        return "a link in the text" if signal.chart_id else ""

    def _text(self, *fields: Field) -> str:
        return str(self.given(*fields) or "")

    def _place(self) -> str:
        labelled = self.given(Field.SIGNAL_TYPE)
        return str(labelled) if labelled else "the unlabelled lines"

    def _signs(self, places: Iterable[str]) -> list[str]:
        """Words that mean a direction in the places, each with its meaning; without any, marks."""
        text = "\n".join(places)
        words = self.vocabulary.words
        said = [_sign(word, words.words[word]) for word in words.words if whole_words([word]).search(text)]
        said += [
            _sign(found[0], direction)
            for direction, phrase in words.phrases.items()
            for found in phrase.finditer(text)
        ]
        marks = self.vocabulary.marks.marks
        return list(dict.fromkeys(said)) or [_sign(mark, marks[mark]) for mark in marks if mark in text]


def _sign(text: str, direction: Direction) -> str:
    return f"{quoted(text)} ({direction})"


def quoted(text: str) -> str:
    """For people: bounded, on one line, and nothing in it that a terminal obeys."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")
