"""Brings the database to the newest version. Forward only, one linear history."""

from importlib import resources
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

LOCK_KEY: Final = 7_281_445_019
"""Advisory lock that lets several processes call `migrate` at once: one works, the others wait."""


async def migrate(url: str) -> None:
    """Run every migration not yet applied. Safe to call from several processes and again at any time.

    `url` is a plain `postgresql://` URL. Blocks while another process migrates.
    """
    engine = create_async_engine(_driver_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as lock:
            await lock.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
            async with engine.connect() as connection:
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(resources.files("sinks") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _driver_url(url: str) -> str:
    parts = urlsplit(url)
    # asyncpg calls the option `ssl`, libpq and people `sslmode`
    query = parts.query.replace("sslmode=", "ssl=")
    return urlunsplit(parts._replace(scheme="postgresql+asyncpg", query=query))
