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


def test_comments_and_empty_lines_count_for_nothing() -> None:
    """A person may edit the file."""
    assert parse_environment("\n# why\n  A=1 # 2\nB=\nC=a=b\n") == {"A": "1 # 2", "B": "", "C": "a=b"}


@pytest.mark.parametrize("line", ["secret", "=secret", "a b=secret"])
def test_a_bad_line_is_named_by_its_number_only(line: str) -> None:
    """The text of the line may be a secret."""
    with pytest.raises(EnvironmentFileError, match="line 2 is not KEY=VALUE") as caught:
        parse_environment(f"A=1\n{line}\n")
    assert "secret" not in str(caught.value)


def test_a_line_break_cannot_smuggle_a_variable_in() -> None:
    """A value with a line break is refused instead of becoming two lines."""
    with pytest.raises(EnvironmentFileError):
        format_environment({"A": "1\nB=2"})


def test_what_the_process_has_wins_over_the_file() -> None:
    """The file only fills gaps; a variable set to nothing is no gap."""
    merged = merge({"A": "process", "B": ""}, "A=file\nB=file\nC=file\n")
    assert merged.values == {"A": "process", "B": "", "C": "file"}
