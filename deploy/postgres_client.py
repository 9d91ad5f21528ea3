"""Runs one of Postgres's own programs on the database of `DATABASE_URL`: `python -m deploy.postgres_client`.

The program gets the connection in libpq's environment variables: an argument would show a password to
everybody who lists the processes.
"""

import os
import sys
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from deploy.cli import Subcommand, load_environment
from runtime.errors import FatalError
from runtime.settings import PostgresSettings, SettingsError, load_section

# https://www.postgresql.org/docs/current/libpq-envars.html
VARIABLES: Final = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslsni": "PGSSLSNI",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "requirepeer": "PGREQUIREPEER",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


class ConnectionUrlError(FatalError):
    """The URL says something that no variable of libpq does."""


def libpq_environment(url: str, values: Mapping[str, str]) -> dict[str, str]:
    """The variables, with the URL's connection and no other's. Raises `ConnectionUrlError`."""
    others = {name: value for name, value in values.items() if name not in VARIABLES.values()}
    return {**others, **{_variable(key): value for key, value in _connection(url).items() if value}}


def main(words: list[str]) -> None:
    """Becomes the program. Exits with 2 when the settings are wrong."""
    values = load_environment(Subcommand("", "")).values
    try:
        url = load_section(PostgresSettings, values).url.get_secret_value()
        environment = libpq_environment(url, values)
    except (SettingsError, ConnectionUrlError) as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2)
    os.execvpe(words[0], words, environment)  # noqa: S606 - no shell is wanted


def _connection(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    credentials, _at, places = parts.netloc.rpartition("@")
    user, _colon, password = credentials.partition(":")
    # several hosts are separated by commas, each with a port of its own
    hosts = [_host_and_port(place) for place in places.split(",")]
    ports = ",".join(port for _host, port in hosts)
    return {
        "host": ",".join(host for host, _port in hosts),
        "port": ports if ports.strip(",") else "",
        "user": unquote(user),
        "password": unquote(password),
        "dbname": unquote(parts.path.removeprefix("/")),
        **dict(parse_qsl(parts.query, keep_blank_values=True)),
    }


def _host_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _bracket, rest = place[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _colon, port = place.partition(":")
    return unquote(host), port


def _variable(key: str) -> str:
    try:
        return VARIABLES[key]
    except KeyError as error:
        raise ConnectionUrlError(f"DATABASE_URL: the tools of Postgres take no {key!r} here") from error


if __name__ == "__main__":
    main(sys.argv[1:])
