"""Plain SQL files as Alembic migrations."""

from importlib import resources
from typing import Any

from alembic import op
from sqlalchemy.util import await_only


def run_script(name: str) -> None:
    """Run a file of many statements inside the migration's transaction."""
    sql = resources.files("sinks.migrations.versions").joinpath(name).read_text("utf-8")
    bind = op.get_bind()
    # SQLAlchemy prepares what it runs and so takes one statement only; asyncpg itself takes a script. The
    # empty query first makes SQLAlchemy open its transaction, which then holds the script too.
    bind.exec_driver_sql("SELECT")
    driver: Any = bind.connection.driver_connection
    await_only(driver.execute(sql))
