import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.environment import EnvironmentFileError, format_environment, merge, parse_environment

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs"))).map(
    str.strip
)


@given(st.dictionaries(NAMES, VALUES))
def test_what_is_written_is_read_again(values: dict[str, str]) -> None:
    """Formatting and parsing are inverse, whatever a value holds."""
    assert parse_environment(format_environment(values)) == values


@given(st.dictionaries(NAMES, st.text(max_size=8), max_size=3))
def test_what_would_read_back_otherwise_is_refused(values: dict[str, str]) -> None:
    """Any text at all is either kept to the letter or refused: never changed, never another variable."""
    try:
        text = format_environment(values)
    except EnvironmentFileError:
        return
    assert parse_environment(text) == values


def test_comments_and_empty_lines_count_for_nothing() -> None:
    """A person may edit the file."""
    assert parse_environment("\n# why\n  A=1 # 2\nB=\nC=a=b\n") == {"A": "1 # 2", "B": "", "C": "a=b"}


@pytest.mark.parametrize("line", ["secret", "=secret", "a b=secret"])
def test_a_bad_line_is_named_by_its_number_only(line: str) -> None:
    """The text of the line may be a secret."""
    with pytest.raises(EnvironmentFileError, match="line 2 is not KEY=VALUE") as caught:
        parse_environment(f"A=1\n{line}\n")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["1\nB=2", "1\u2028B=2", "1\x85#", "1\r", "1 ", "\t"])
def test_a_line_break_cannot_smuggle_a_variable_in(value: str) -> None:
    """A value with any kind of line break, or with space at its end, is refused instead of changed."""
    with pytest.raises(EnvironmentFileError):
        format_environment({"A": value})


def test_what_the_process_has_wins_over_the_file() -> None:
    """The file only fills gaps; a variable set to nothing is no gap."""
    merged = merge({"A": "process", "B": ""}, "A=file\nB=file\nC=file\n")
    assert merged.values == {"A": "process", "B": "", "C": "file"}
