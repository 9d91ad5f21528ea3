"""Partitions of any width, made on demand within reason, and a memory of those being dropped."""

from sinks.migrations.scripts import run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_script("0004_partitions.sql")
