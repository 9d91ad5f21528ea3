"""`alerts check-config`: what each role would run with, secrets hidden, or everything that is wrong."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from runtime.environment import Environment
from runtime.examples import example
from runtime.settings import SettingsError, Variable, load_settings, variables_of

SETTINGS: Final = {
    "ingest": "ingest.settings:IngestSettings",
    "process": "processors.settings:ProcessorSettings",
    "sink": "sinks.settings:SinkSettings",
    "capture": "capture.settings:CaptureSettings",
    "api": "api.settings:ApiSettings",
}
"""The settings dataclass of each role, `module:attribute`."""


@click.command("check-config", epilog=example("check-config --role capture"))
@click.option("--role", "roles", type=click.Choice(list(SETTINGS)), multiple=True, help="only these roles")
@click.pass_obj
def command(environment: Environment, roles: tuple[str, ...]) -> None:
    """Show the effective settings of all roles with secrets hidden; exit 2 and list every problem else."""
    for variable in check(roles or tuple(SETTINGS), environment.values):
        click.echo(f"{variable.name:32} {variable.value:40} {variable.description}")


def check(roles: tuple[str, ...], values: Mapping[str, str]) -> list[Variable]:
    """Every variable of the roles, once, by name. Raises `SettingsError` with all problems of all roles."""
    variables: dict[str, Variable] = {}
    problems: dict[str, None] = {}
    for kind in kinds(roles):
        try:
            variables |= {item.name: item for item in variables_of(load_settings(kind, values))}
        except SettingsError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise SettingsError(list(problems))
    return [variables[name] for name in sorted(variables)]


def kinds(roles: tuple[str, ...]) -> Iterator[type[Any]]:
    """The settings dataclasses of the roles. Imports their packages."""
    for role in roles:
        module, attribute = SETTINGS[role].split(":")
        yield getattr(importlib.import_module(module), attribute)
