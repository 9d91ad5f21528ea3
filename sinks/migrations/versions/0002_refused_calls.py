"""Refused calls in the audit, counted by address and reason."""

from sinks.migrations.scripts import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_script("0002_refused_calls.sql")
