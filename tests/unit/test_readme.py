"""The README tells what the code does."""

import re
from pathlib import Path

from deploy.check_config import SETTINGS, kinds
from deploy.cli import SUBCOMMANDS
from runtime.settings import sections_of

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_configuration_table_lists_exactly_the_variables_that_are_read() -> None:
    """A variable that is added, renamed or dropped changes the table too, with its description."""
    rows = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| [^|]* \| ([^|]+) \|", README, re.MULTILINE))
    read = {
        section.variable(name): field.description
        for kind in kinds(tuple(SETTINGS))
        for _name, section in sections_of(kind)
        for name, field in section.model_fields.items()
    }
    assert rows == read


def test_the_commands_shown_exist() -> None:
    """Every `alerts …` that the README shows is a subcommand."""
    shown = set(re.findall(r"alerts ([a-z]+(?:-[a-z]+)*)", README))
    assert shown
    assert shown <= set(SUBCOMMANDS)
