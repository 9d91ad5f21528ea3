"""Reads indicator files. Blocking; for start-up."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from processors.characters import without_outer_emojis
from processors.indicators.book import FILE_REVISIONS, PARSER_REVISION, Family, IndicatorBook
from processors.reading import Field
from processors.vocabulary import MAX_SPELLINGS, KeyT, Spellings, Words, compile_vocabulary, fold, whole_words
from runtime.errors import FatalError
from schemas.records import Direction

MAX_REVISION: Final = 9_999


class IndicatorError(FatalError):
    """The indicator files cannot be used. `problems` has a line for each: file, place, reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Recognise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: list[str]


class IndicatorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One TOML file. The one without `recognise` is the base of all others."""

    revision: int
    recognise: Recognise | None = None
    labels: dict[Field, list[str]] = {}
    emojis: dict[Field, list[str]] = {}
    directions: dict[Direction, list[str]] = {}
    marks: dict[Direction, list[str]] = {}
    exchanges: list[str] = []
    currencies: list[str] = []

    def words(self) -> Words:
        return Words(
            labels=self.labels,
            emojis=self.emojis,
            directions=self.directions,
            marks=self.marks,
            exchanges=[code.upper() for code in self.exchanges],
            currencies=[code.upper() for code in self.currencies],
        )


def load_indicators(directory: Path) -> IndicatorBook:
    """Read all `*.toml` of a directory. Raises `IndicatorError` with every problem of every file."""
    files: dict[str, IndicatorFile] = {}
    problems: list[str] = []
    for path in sorted(directory.glob("*.toml")):
        try:
            files[path.name] = _read_file(path)
        except (OSError, ValueError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        problems += [f"{path.name}: {problem}" for problem in _problems_of(files[path.name])]
    bases = [name for name, file in files.items() if file.recognise is None]
    if len(bases) != 1 and not problems:
        problems.append(f"{directory}: one file without [recognise] is needed, found {bases or 'none'}")
    if problems:
        raise IndicatorError(problems)
    return _book(files, bases[0])


def _read_file(path: Path) -> IndicatorFile:
    """Raises `OSError`, or `ValueError` that says where in the file."""
    return msgspec.convert(tomllib.loads(path.read_text("utf-8")), IndicatorFile)


def _book(files: dict[str, IndicatorFile], base: str) -> IndicatorBook:
    families = tuple(
        _family(name, file, file.recognise, files[base])
        for name, file in files.items()
        if file.recognise is not None
    )
    revisions = sum(file.revision for file in files.values())
    return IndicatorBook(
        base=compile_vocabulary([files[base].words()]),
        families=families,
        parse_revision=PARSER_REVISION * FILE_REVISIONS + revisions,
    )


def _family(name: str, file: IndicatorFile, recognise: Recognise, base: IndicatorFile) -> Family:
    return Family(
        file=name,
        names=whole_words(recognise.names),
        vocabulary=compile_vocabulary([base.words(), file.words()]),
        has_labels=bool(file.labels or file.emojis),
    )


def _problems_of(file: IndicatorFile) -> Iterator[str]:
    if not 1 <= file.revision <= MAX_REVISION:
        yield f"revision must be from 1 to {MAX_REVISION}"
    if file.recognise is not None and not all([file.recognise.names, *map(str.strip, file.recognise.names)]):
        yield "recognise.names must hold names"
    yield from _unusable(file)
    yield from _ambiguous("labels", file.labels, fold)
    yield from _ambiguous("emojis", file.emojis, str)
    yield from _ambiguous("directions", file.directions, str.upper)
    yield from _ambiguous("marks", file.marks, str)


def _unusable(file: IndicatorFile) -> Iterator[str]:
    for field, names in file.labels.items():
        yield from (f"labels.{field}: {name!r} is no label" for name in names if not fold(name))
        if len(names) > MAX_SPELLINGS:
            yield f"labels.{field} has more than {MAX_SPELLINGS} spellings"
    for field, names in file.emojis.items():
        yield from (f"emojis.{field}: {name!r} is no emoji" for name in names if not _is_emoji(name))
    for table in (file.directions, file.marks):
        for direction, words in table.items():
            yield from (f"{direction}: {word!r} is no word or mark" for word in words if not word.strip())


def _is_emoji(name: str) -> bool:
    return bool(name.strip()) and not without_outer_emojis(name)


def _ambiguous(table: str, spellings: Spellings[KeyT], key: Callable[[str], str]) -> Iterator[str]:
    """Spellings that would mean two things in one file."""
    meanings: dict[str, KeyT] = {}
    for meaning, names in spellings.items():
        for name in names:
            known = meanings.setdefault(key(name), meaning)
            if known != meaning:
                yield f"{table}: {name!r} is both {known} and {meaning}"
