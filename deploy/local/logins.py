"""Who each process of the stack is to the database: a login with the rights of its role alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from deploy.local.keychain import Keychain
from deploy.local.settings import LocalSettings
from runtime.sql import load_queries

_QUERIES: Final = load_queries("deploy.local", "logins.sql")


@dataclass(frozen=True, slots=True)
class Login:
    """A login of the embedded database, and the role whose rights it has."""

    name: str
    role: str
    password: SecretStr

    def url(self, owner_url: str) -> str:
        """The same database for this login."""
        parts = urlsplit(owner_url)
        address = parts.netloc.rpartition("@")[2]
        password = quote(self.password.get_secret_value(), safe="")
        return urlunsplit(parts._replace(netloc=f"{self.name}:{password}@{address}"))


def embedded_logins(keychain: Keychain) -> Mapping[str, Login]:
    """By the name of the process among `INSTANCES`; one that is not here has no use for the database."""
    return {
        "sink": Login("alerts_sink_login", "alerts_sink", keychain.sink_database_password),
        "capture": Login("alerts_capture_login", "alerts_capture", keychain.capture_database_password),
        "api": Login("alerts_api_login", "alerts_api", keychain.api_database_password),
    }


def chosen_urls(settings: LocalSettings, database_url: str) -> Mapping[str, str]:
    """What a person's own database is to each process: all the same unless they say otherwise."""
    chosen = {
        "sink": settings.sink_database_url,
        "capture": settings.capture_database_url,
        "api": settings.api_database_url,
    }
    return {name: url.get_secret_value() if url else database_url for name, url in chosen.items()}


async def ensure_logins(owner_url: str, logins: Iterable[Login]) -> None:
    """Make the logins, or give those that exist these passwords. The database must have been migrated."""
    connection = await asyncpg.connect(owner_url)
    try:
        for login in logins:
            values = (login.name, login.password.get_secret_value(), login.role)
            await connection.execute(await connection.fetchval(_QUERIES["statement"], *values))
    finally:
        await connection.close()
