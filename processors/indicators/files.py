"""Reads indicator files. Blocking; for start-up and commands."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from processors.characters import composed, without_outer_emojis
from processors.indicators.book import FILE_REVISIONS, PARSER_REVISION, Family, IndicatorBook
from processors.indicators.places import Place, lines_of
from processors.indicators.problems import Problem, findings_of, without_variant
from processors.reading import Field
from processors.vocabulary import KeyT, Spellings, Words, compile_vocabulary, whole_words
from runtime.errors import FatalError
from schemas.records import Direction

SHIPPED: Final = Path(__file__).parent
"""The folder of the files that come with the program."""

_SYNTAX_PLACE: Final = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)$")


class IndicatorError(FatalError):
    """The indicator files cannot be used. `problems` are those of all files; the text has a line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(["these indicator files are wrong:", *map(str, problems)]))
        self.problems = list(problems)


class Recognise(msgspec.Struct, frozen=True):
    names: list[str]


class IndicatorFile(msgspec.Struct, frozen=True):
    """The content of one TOML file. The one without `recognise` is the base of all others."""

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
            emojis=_without_variants(self.emojis),
            directions={key: list(map(composed, words)) for key, words in self.directions.items()},
            marks=_without_variants(self.marks),
            exchanges=[code.upper() for code in self.exchanges],
            currencies=[code.upper() for code in self.currencies],
        )


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that is in force. `replaces` is the file of the same name that is not, because of this one."""

    path: Path
    content: IndicatorFile
    replaces: "SourceFile | None" = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def revision(self) -> int:
        """Its own and those of what it replaces, so that replacing a file counts as a change."""
        return self.content.revision + (self.replaces.revision if self.replaces else 0)


def indicator_folders(operators: Path | None) -> tuple[Path, ...]:
    """The shipped folder and, if there is one, the operator's."""
    return (SHIPPED,) if operators is None else (SHIPPED, operators)


def load_indicators(*folders: Path) -> IndicatorBook:
    """Read the files of all folders as `read_files` does, ready for use."""
    return compile_book(read_files(*folders))


def read_files(*folders: Path) -> list[SourceFile]:
    """All `*.toml` of the folders; a file replaces that of the same name in an earlier folder.

    In order of precedence: the last folder first, each by file name. Hidden files are left out.
    Raises `IndicatorError` with every problem of every file.
    """
    files: dict[str, SourceFile] = {}
    problems: list[Problem] = []
    for folder in folders:
        for path in _paths_in(folder, problems):
            content = _read_file(path)
            if isinstance(content, IndicatorFile):
                files[path.name] = SourceFile(path, content, files.pop(path.name, None))
            else:
                problems += content
    if problems := problems or list(_problems_together(list(files.values()), folders)):
        raise IndicatorError(problems)
    places = {folder: place for place, folder in enumerate(folders)}
    return sorted(files.values(), key=lambda file: (-places[file.path.parent], file.name))


def base_of(files: Sequence[SourceFile]) -> SourceFile:
    """The file that reads every message."""
    return next(file for file in files if file.content.recognise is None)


def compile_book(files: Sequence[SourceFile]) -> IndicatorBook:
    """The book of files as `read_files` returns them."""
    base = base_of(files).content.words()
    families = (_family(file, file.content.recognise, base) for file in files if file.content.recognise)
    return IndicatorBook(
        base=compile_vocabulary([base]),
        families=tuple(families),
        parse_revision=PARSER_REVISION * FILE_REVISIONS + sum(file.revision for file in files),
    )


def _family(file: SourceFile, recognise: Recognise, base: Words) -> Family:
    content = file.content
    return Family(
        file=file.name,
        names=whole_words(composed(without_outer_emojis(name)) for name in recognise.names),
        vocabulary=compile_vocabulary([base, content.words()]),
        has_labels=bool(content.labels or content.emojis or content.exchanges or content.directions),
    )


def _paths_in(folder: Path, problems: list[Problem]) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        problems.append(Problem(str(folder), None, error.strerror or str(error)))
        return []
    return [path for path in found if path.suffix == ".toml" and not path.name.startswith(".")]


def _read_file(path: Path) -> IndicatorFile | list[Problem]:
    name = str(path)
    if not path.name.isprintable():
        # it is stored with every signal
        return [Problem(repr(name), None, "the file's name is not printable")]
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return [Problem(name, None, error.strerror or str(error))]
    except UnicodeDecodeError as error:
        return [Problem(name, error.object.count(b"\n", 0, error.start) + 1, "not UTF-8")]
    return _read_text(name, text)


def _read_text(name: str, text: str) -> IndicatorFile | list[Problem]:
    try:
        data = tomllib.loads(text)
        problems = [Problem(name, line, reason) for line, reason in _located(text, data)]
    except tomllib.TOMLDecodeError as error:
        return [_syntax_problem(name, text, str(error))]
    except RecursionError:
        return [Problem(name, None, "nested too deeply")]
    return problems or msgspec.convert(data, IndicatorFile)


def _located(text: str, data: dict[str, Any]) -> list[tuple[int, str]]:
    found = list(findings_of(data))
    lines = lines_of(text) if found else {}
    return sorted((_line_of(place, lines), reason) for place, reason in found)


def _line_of(place: Place, lines: dict[Place, int]) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _syntax_problem(name: str, text: str, reason: str) -> Problem:
    place = _SYNTAX_PLACE.search(reason)
    end = text.rstrip().count("\n") + 1
    line = int(place[1]) if place and place[1] else end
    return Problem(name, line, _SYNTAX_PLACE.sub("", reason))


def _problems_together(files: Sequence[SourceFile], folders: Sequence[Path]) -> Iterator[Problem]:
    bases = [file for file in files if file.content.recognise is None]
    # the shipped one or its replacement is meant to be it
    bases.sort(key=lambda file: file.path.parent != folders[0] and file.replaces is None)
    if not bases:
        yield Problem(str(folders[-1]), None, "one file without [recognise] is needed, to read every message")
    for other in bases[1:]:
        yield Problem(str(other.path), 1, f"[recognise] is missing; only {bases[0].path} may do without")
    if sum(file.revision for file in files) >= FILE_REVISIONS:
        yield Problem(str(folders[-1]), None, f"the revisions of all files exceed {FILE_REVISIONS - 1}")


def _without_variants(spellings: Spellings[KeyT]) -> dict[KeyT, list[str]]:
    return {key: list(map(without_variant, names)) for key, names in spellings.items()}
