"""When the session of a user was last asked about, so that the site is asked seldom, whoever asks."""

from sinks.migrations.scripts import run_script

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_script("0008_session_checks.sql")
