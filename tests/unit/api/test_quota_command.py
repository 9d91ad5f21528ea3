"""`alerts users release-parked` before it reaches the database."""

import pytest
from click.testing import CliRunner

from api.users_command import command
from runtime.environment import Environment


def test_the_help_shows_an_example_that_can_be_typed() -> None:
    """Without any setting; the example's words are those of a call."""
    result = CliRunner().invoke(command, ["release-parked", "--help"], obj=Environment({}))
    [example] = [line.strip() for line in result.output.splitlines() if "Example:" in line]
    words = example.removeprefix("Example: alerts users ").split()
    assert (result.exit_code, words[0], len(words)) == (0, "release-parked", 2)


@pytest.mark.parametrize("words", [[], ["somebody"], ["019a0000-0000-7000-8000-00000000000a", "more"]])
def test_anything_but_one_id_is_a_mistake_of_the_caller(words: list[str]) -> None:
    """Told with the usage, before a setting is read."""
    result = CliRunner().invoke(command, ["release-parked", *words], obj=Environment({}))
    assert (result.exit_code, "Usage:" in result.output) == (2, True)
