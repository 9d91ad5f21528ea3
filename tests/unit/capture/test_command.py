import pytest
from click.testing import CliRunner

from capture.command import command
from runtime.environment import Environment
from runtime.settings import SettingsError


def test_without_a_command_it_is_the_role() -> None:
    """`alerts capture` starts a worker, which asks for its settings first."""
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        CliRunner(catch_exceptions=False).invoke(command, [], obj=Environment({}))


def test_a_trial_needs_a_user() -> None:
    """And starts no worker."""
    result = CliRunner(catch_exceptions=False).invoke(command, ["try"], obj=Environment({}))
    assert result.exit_code == 2
    assert "--user" in result.output
