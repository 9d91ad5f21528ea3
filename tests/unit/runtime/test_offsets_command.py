"""What the command asks of whoever calls it, before any broker is reached."""

from pathlib import Path

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError
from click.testing import CliRunner, Result

from runtime.environment import Environment
from runtime.errors import TransientError
from runtime.offsets import OffsetsFileError
from runtime.offsets_command import command
from runtime.offsets_survey import answered
from runtime.settings import SettingsError


def run(*words: str, **values: str) -> Result:
    return CliRunner().invoke(command, words, obj=Environment(values))


@pytest.mark.parametrize("name", ["save", "show", "restore"])
def test_help_needs_no_settings_and_shows_an_example(name: str) -> None:
    """One can read what a command does before anything is set up."""
    result = run(name, "--help")
    assert (result.exit_code, f"Example: alerts offsets {name}" in result.output) == (0, True)


@pytest.mark.parametrize("name", ["save", "show"])
def test_without_settings_it_says_which(name: str, tmp_path: Path) -> None:
    """And leaves no file."""
    result = run(name, *([str(tmp_path / "file")] if name == "save" else []))
    assert isinstance(result.exception, SettingsError)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    """Before a broker is asked."""
    file = tmp_path / "offsets.json"
    file.write_text('{"version": 1, "groups": {')
    assert isinstance(run("restore", str(file), KAFKA_BOOTSTRAP="127.0.0.1:1").exception, OffsetsFileError)


@pytest.mark.parametrize(
    "words", [["restore", "nowhere.json"], ["restore"], ["save"], ["show", "--wait", "-1"]]
)
def test_wrong_words_are_refused(words: list[str]) -> None:
    """As a wrong way to call it."""
    assert run(*words, KAFKA_BOOTSTRAP="127.0.0.1:1").exit_code == 2


async def test_a_broker_that_is_not_ready_is_asked_again() -> None:
    """A new one has no coordinator yet."""
    errors: list[Exception] = [GroupCoordinatorNotAvailableError(), TimeoutError()]

    async def ask() -> str:
        if errors:
            raise errors.pop()
        return "answer"

    assert await answered(ask) == "answer"


async def test_a_broker_that_stays_away_is_told() -> None:
    """With the last that was heard of it; what waiting does not cure is told at once."""

    async def ask() -> str:
        raise ConnectionError("refused")

    async def fail() -> str:
        raise ValueError("bug")

    with pytest.raises(TransientError, match="refused"):
        await answered(ask, 0.1)
    with pytest.raises(ValueError, match="bug"):
        await answered(fail)
