"""Addresses that may send to a tenant."""

from sinks.migrations.scripts import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_script("0003_allowed_addresses.sql")
