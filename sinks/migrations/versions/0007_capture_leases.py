"""Leases of TradingView accounts, the tries of each capture, and the switch that stops them all."""

from sinks.migrations.scripts import run_script

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_script("0007_capture_leases.sql")
