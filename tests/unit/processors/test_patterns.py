import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from processors.patterns import atomic

ROOT: Final = Path(__file__).resolve().parents[3]
PACKAGES: Final = ("schemas", "runtime", "ingest", "processors", "capture", "sinks", "api", "deploy")
SOURCES: Final = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
POSSESSIVE_GROUP: Final = re.compile(r"(?<!\\)\)(?:[*+?]|\{[0-9,]+\})\+")
POSSESSIVE_CAPTURE: Final = re.compile(r"(?<!\\)\((?!\?)[^()]*(?:[*+?]|\})\+\)")


def texts(source: str) -> Iterator[str]:
    """Every string of a module but those that only say something."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pattern_relies_on_what_old_pythons_get_wrong(path: Path) -> None:
    """Debian 12's Python mismatches possessive groups and captures of possessive repeats."""
    written = list(texts(path.read_text()))
    assert [
        text for text in written if POSSESSIVE_GROUP.search(text) or POSSESSIVE_CAPTURE.search(text)
    ] == []


def test_a_pattern_that_does_is_found() -> None:
    """In any string, also one over several lines, but not where it is only talked about."""
    source = 'A = rf"""\n(?: x | (?:[^"]|y)*+ )"""\nB = r"(a++)"\n"""Not (?:a)*+ here."""\n'
    found = [
        text for text in texts(source) if POSSESSIVE_GROUP.search(text) or POSSESSIVE_CAPTURE.search(text)
    ]
    assert len(found) == 2


def test_an_atomic_piece_gives_nothing_back() -> None:
    """What it took stays taken, also when the rest then fails."""
    assert re.fullmatch(atomic("(?:ab|a)", "piece") + "b", "ab") is None
    assert re.fullmatch("(?:ab|a)b", "ab") is not None


def test_an_atomic_piece_is_captured_whole() -> None:
    """By its name, from its first character on, also behind an empty one."""
    pattern = re.compile(atomic("[a-z]*", "before") + atomic("[0-9.]+", "digits"))
    found = pattern.fullmatch("67.5")
    assert found is not None
    assert (found["before"], found["digits"]) == ("", "67.5")
