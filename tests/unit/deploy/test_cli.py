import importlib
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner

from deploy.cli import ENV_FILE, SUBCOMMANDS, Subcommand, load_environment, main
from runtime.errors import InvalidError, TransientError
from runtime.settings import SettingsError

FILED = Subcommand("nowhere:command", "")


class StandIn(ModuleType):
    """A module whose command is called in place of `alerts topics` and raises what the test wants."""

    def __init__(self) -> None:
        super().__init__("stand_in")
        self.error: Exception | None = None
        self.command = click.Command("topics", callback=self.run)

    def run(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(SUBCOMMANDS, "topics", Subcommand("stand_in:command", "stands in"))
    return module


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a running stack, and a current directory elsewhere."""
    monkeypatch.delenv("ALERTS_ENV_FILE")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    file = tmp_path / "clone" / ENV_FILE
    file.parent.mkdir(parents=True)
    file.write_text("API_PORT=1111\n")
    return tmp_path / "clone"


@pytest.mark.parametrize("name", list(SUBCOMMANDS))
def test_every_subcommand_exists(name: str) -> None:
    """The table names a click command in a module that can be imported."""
    module, attribute = SUBCOMMANDS[name].target.split(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)


def test_help_imports_no_subcommand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of commands comes from the table: one that cannot be imported is listed too."""
    monkeypatch.setitem(SUBCOMMANDS, "broken", Subcommand("no.such.module:command", "cannot be imported"))
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "cannot be imported" in result.output


def test_wrong_settings_are_listed(stand_in: StandIn) -> None:
    """All problems at once, exit code 2, no traceback."""
    stand_in.error = SettingsError(["API_PORT: is not set", "API_HOST: is not set"])
    result = CliRunner().invoke(main, ["topics"])
    assert result.exit_code == 2
    assert "  API_PORT: is not set\n  API_HOST: is not set\n" in result.output


@pytest.mark.parametrize("error", [TransientError("away"), InvalidError("away"), ConnectionError("away")])
def test_an_expected_error_is_one_line(stand_in: StandIn, error: Exception) -> None:
    """What is no bug needs no traceback."""
    stand_in.error = error
    result = CliRunner().invoke(main, ["topics"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: away")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (InvalidError("unknown_user", "ana"), "`alerts users list`"),
        (ConnectionRefusedError("refused"), "`alerts check-config`"),
        (KafkaConnectionError(), "KAFKA_BOOTSTRAP"),
    ],
)
def test_an_error_says_what_to_do(stand_in: StandIn, error: Exception, advice: str) -> None:
    """Whoever calls a command need not know what lies behind it."""
    stand_in.error = error
    assert advice in CliRunner().invoke(main, ["topics"]).output


def test_a_bug_shows_its_traceback(stand_in: StandIn) -> None:
    """A bug is not made to look like a person's mistake."""
    stand_in.error = KeyError("bug")
    assert isinstance(CliRunner().invoke(main, ["topics"]).exception, KeyError)


def test_the_running_stack_of_the_clone_is_found(clone: Path) -> None:
    """From any directory, the clone's own file is used."""
    assert load_environment(FILED, clone).values["API_PORT"] == "1111"


def test_the_stack_of_the_current_directory_comes_first(clone: Path) -> None:
    """With several clones the one a person stands in is meant."""
    ENV_FILE.parent.mkdir()
    ENV_FILE.write_text("API_PORT=2222\n")
    assert load_environment(FILED, clone).values["API_PORT"] == "2222"


def test_no_file_is_read_when_told_so(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor's children get their variables from it alone."""
    monkeypatch.setenv("ALERTS_ENV_FILE", "")
    assert "API_PORT" not in load_environment(FILED, clone).values


def test_the_supervisor_ignores_the_file(clone: Path) -> None:
    """A file left by a killed run would make it use services that are gone."""
    assert "API_PORT" not in load_environment(SUBCOMMANDS["up"], clone).values


def test_a_named_file_must_exist(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in its name does not pass silently."""
    monkeypatch.setenv("ALERTS_ENV_FILE", "no such file")
    with pytest.raises(click.ClickException, match="cannot read no such file"):
        load_environment(FILED, clone)
