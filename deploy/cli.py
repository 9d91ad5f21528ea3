"""The `alerts` command. Each subcommand's module is imported only when it is called."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from aiokafka.errors import KafkaError

from runtime.environment import (
    Environment,
    EnvironmentFileError,
    merge,
    process_environment,
)
from runtime.errors import Failure, InvalidError, classify
from runtime.examples import example
from runtime.settings import SettingsError

ENV_FILE: Final = Path(".local/env")
"""Where a running local stack leaves the settings that find it."""

_ADVICE: Final = (
    (KafkaError, "is Kafka running at KAFKA_BOOTSTRAP? `make run` starts one"),
    (ConnectionError, "is it running? `alerts check-config` shows which addresses are used"),
    (TimeoutError, "no answer in time; try again later"),
)

_ADVICE_BY_REASON: Final = {
    "unknown_user": "`alerts users list` shows the users",
    "unknown_key": "for an API key see `alerts keys list`; for a secret ENCRYPTION_KEYS lacks this key",
    "undecryptable": "`alerts keys rotate --dry-run` names the users",
    "rotation_in_progress": "wait until it ends, or use --grace-hours 0, which ends all older tokens at once",
    "invalid_cookie": "copy the values of the cookies sessionid and sessionid_sign, without their names",
}

_ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Subcommand:
    """Where a subcommand is, `module:attribute`, and its line in the help."""

    target: str
    summary: str
    uses_env_file: bool = True


SUBCOMMANDS: Final[dict[str, Subcommand]] = {
    "up": Subcommand(
        "deploy.local.up:command", "Run the whole pipeline on this machine.", uses_env_file=False
    ),
    "ingest": Subcommand("ingest.command:command", "Accept webhooks and publish them to Kafka."),
    "process": Subcommand("processors.command:command", "Turn raw webhooks into signals."),
    "sink": Subcommand("sinks.command:command", "Store signals and ask for their pictures."),
    "capture": Subcommand("capture.command:command", "Take pictures of charts."),
    "api": Subcommand("api.command:command", "Serve the read side."),
    "users": Subcommand("api.users_command:command", "Create and change tenants."),
    "captures": Subcommand("api.captures_command:command", "Stop and start the captures of all users."),
    "keys": Subcommand("api.keys_command:command", "Create and revoke API keys; rotate the encryption key."),
    "pictures": Subcommand("api.pictures_command:command", "Delete pictures, a user's or old ones."),
    "indicators": Subcommand(
        "processors.indicators_command:command", "Check and try the files that say how messages are read."
    ),
    "migrate": Subcommand("sinks.migrate_command:command", "Bring the database to the newest version."),
    "partitions": Subcommand(
        "sinks.partitions_command:command", "Make and remove partitions of the big tables."
    ),
    "reconcile": Subcommand(
        "sinks.reconcile_command:command", "Prove that nothing that was accepted is lost."
    ),
    "topics": Subcommand("runtime.topics_command:command", "Create and list the Kafka topics."),
    "contracts": Subcommand(
        "deploy.contracts_command:command", "Generate and check the published contracts.", uses_env_file=False
    ),
    "deadletters": Subcommand(
        "runtime.deadletters_command:command", "See what could not be handled, and put it back."
    ),
    "offsets": Subcommand("runtime.offsets_command:command", "Save and restore how far the store has read."),
    "check-config": Subcommand("deploy.check_config:command", "Show the effective settings."),
    "chart-site": Subcommand(
        "deploy.local.chart.command:chart_site", "Serve the chart look-alike.", uses_env_file=False
    ),
}


class ProblemsError(click.ClickException):
    """Wrong settings: every problem on a line of its own."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("these settings are wrong:\n" + "\n".join(f"  {problem}" for problem in problems))


class LazyGroup(click.Group):
    """Imports a subcommand when it is called and turns expected errors into a line for people."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in SUBCOMMANDS:
            return None
        module, attribute = SUBCOMMANDS[cmd_name].target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in SUBCOMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            raise _for_people(error) from error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("users list", "users add --help"),
)
@click.pass_context
def main(context: click.Context) -> None:
    """Alert pipeline: webhook in, stored signal and chart picture out."""
    context.obj = load_environment(SUBCOMMANDS[str(context.invoked_subcommand)])


def load_environment(subcommand: Subcommand, root: Path = _ROOT) -> Environment:
    """The process's variables, completed by the file of the stack that runs here.

    The file is the current directory's `.local/env`, else the clone's, else none; `ALERTS_ENV_FILE` names
    another one and, set to nothing, none.
    """
    values = process_environment()
    chosen = values.get("ALERTS_ENV_FILE")
    if chosen == "" or not subcommand.uses_env_file:
        return Environment(values)
    for path in [Path(chosen)] if chosen else [ENV_FILE, root / ENV_FILE]:
        if chosen or path.exists():
            return _merge_file(values, path)
    return Environment(values)


def _merge_file(values: dict[str, str], path: Path) -> Environment:
    try:
        return merge(values, path.read_text())
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from error
    except EnvironmentFileError as error:
        raise click.ClickException(f"{path}: {error}") from error


def _for_people(error: Exception) -> Exception:
    """Expected errors become a message and what to do; a bug stays what it is and shows its traceback."""
    if isinstance(error, SettingsError):
        return ProblemsError(error.problems)
    if classify(error) is Failure.BUG:
        return error
    text = f"{error}" or type(error).__name__
    advice = _advice(error)
    return click.ClickException(f"{text}; {advice}" if advice else text)


def _advice(error: Exception) -> str | None:
    if isinstance(error, InvalidError):
        return _ADVICE_BY_REASON.get(error.reason)
    return next((advice for kind, advice in _ADVICE if isinstance(error, kind)), None)
