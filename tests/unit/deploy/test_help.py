"""The help of every command, also of those that are still to come."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from deploy.cli import main


def walk(command: click.Command, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below this one, with the words that call it."""
    yield " ".join(words), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, *words, name)


COMMANDS = dict(walk(main, "alerts"))


def help_of(words: str) -> str:
    return COMMANDS[words].get_help(click.Context(COMMANDS[words], info_name=words))


def examples_of(words: str) -> list[str]:
    """The command lines that the help shows; variables in front of one are left out."""
    shown = help_of(words).partition("Example")[2].partition("\nOptions:")[0]
    return re.findall(r"\balerts .*", shown)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_shows_an_example(words: str) -> None:
    """What to type is seen at once, on one line."""
    assert any(line.startswith(words) for line in examples_of(words)), help_of(words)


@pytest.mark.parametrize("words", COMMANDS)
def test_the_examples_can_be_typed(words: str) -> None:
    """Their commands, options and values exist."""
    for line in examples_of(words):
        _, *arguments = shlex.split(re.split(" [<>] ", line)[0])
        # whoever asks a question gets no answer
        with CliRunner().isolation():
            parse(main, arguments)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_told(words: str) -> None:
    """An option without a word on it has to be guessed; what a command does is told too."""
    command = COMMANDS[words]
    assert command.get_short_help_str()
    silent = [
        parameter.opts[0]
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


def parse(command: click.Command, arguments: list[str]) -> None:
    """As calling it does, but nothing is called. Files need not exist."""
    try:
        context = command.make_context(command.name, list(arguments))
    except (click.exceptions.Exit, click.Abort):
        # it has shown its help, or asked whether it may
        return
    except click.BadParameter as error:
        if isinstance(error.param and error.param.type, click.Path | click.File):
            return
        raise
    rest = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and rest:
        name, found, left = command.resolve_command(context, rest)
        assert found is not None, name
        parse(found, left)
