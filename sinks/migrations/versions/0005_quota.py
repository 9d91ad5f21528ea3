"""Quota, capture requests and releases."""

from sinks.migrations.scripts import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_script("0005_quota.sql")
