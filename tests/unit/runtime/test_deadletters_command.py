"""What the command asks of whoever calls it, before any broker is reached."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner, Result

from runtime.deadletters_command import command
from runtime.environment import Environment
from runtime.errors import FatalError
from runtime.settings import SettingsError


def run(*words: str, **values: str) -> Result:
    return CliRunner().invoke(command, words, obj=Environment(values))


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"], ["show", "--help"], ["redrive", "--help"]])
def test_help_needs_no_settings(words: list[str]) -> None:
    """One can read what a command does before anything is set up."""
    assert run(*words).exit_code == 0


@pytest.mark.parametrize("name", ["list", "redrive"])
def test_list_and_redrive_take_the_same_filters(name: str) -> None:
    """What is listed is what is put back."""
    text = run(name, "--help").output
    options = ("--reason", "--stage", "--topic", "--since", "--until", "--tenant", "--from", "--limit")
    assert [option for option in options if option not in text] == []


def test_without_settings_it_says_which() -> None:
    """The error of any command without its variables."""
    assert isinstance(run("list").exception, SettingsError)


@pytest.mark.parametrize(
    "words",
    [
        ["show", "12"],
        ["show"],
        ["redrive", "--rate", "0"],
        ["redrive", "--rate", "-1"],
        ["list", "--limit", "0"],
        ["list", "--tenant", "ana"],
        ["list", "--since", "soon"],
    ],
)
def test_wrong_words_are_refused(words: list[str]) -> None:
    """As a wrong way to call it, before a broker is asked."""
    assert run(*words, KAFKA_BOOTSTRAP="127.0.0.1:1").exit_code == 2


def test_a_topic_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that makes it."""

    class Admin:
        async def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
            return [{"error_code": 3, "topic": name, "partitions": []} for name in names]

    @asynccontextmanager
    async def open_admin(_settings: object) -> AsyncIterator[Admin]:
        yield Admin()

    monkeypatch.setattr("runtime.deadletter_log.open_admin", open_admin)
    error = run("list", KAFKA_BOOTSTRAP="127.0.0.1:1").exception
    assert isinstance(error, FatalError)
    assert "alerts topics create" in str(error)
