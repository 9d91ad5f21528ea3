"""Database roles, and row-level security between tenants."""

from sinks.migrations.scripts import run_script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_script("0006_roles.sql")
