import re
from pathlib import Path

import pytest

import processors
from processors.patterns import atomic

SOURCES = sorted(Path(processors.__file__).parent.glob("*.py"))
POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{[0-9,]+\})\+")
POSSESSIVE_CAPTURE = re.compile(r"(?<!\\)\((?!\?)[^()]*(?:[*+?]|\})\+\)")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_pattern_relies_on_what_old_pythons_get_wrong(path: Path) -> None:
    """Debian 12's Python mismatches possessive groups and captures of possessive repeats."""
    code = [
        line for line in path.read_text().splitlines() if "re.compile" in line or 'r"' in line or "rf" in line
    ]
    found = [line for line in code if POSSESSIVE_GROUP.search(line) or POSSESSIVE_CAPTURE.search(line)]
    assert found == []


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
