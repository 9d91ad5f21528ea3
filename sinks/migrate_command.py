"""`alerts migrate`: bring the database to the newest version."""

import asyncio

import click

from runtime.environment import Environment
from runtime.examples import example
from runtime.settings import PostgresSettings, load_section
from sinks.migrate import migrate


@click.command("migrate", epilog=example("migrate"))
@click.pass_obj
def command(environment: Environment) -> None:
    """Create or update the tables. Safe to repeat and to run from several processes at once."""
    settings = load_section(PostgresSettings, environment.values)
    asyncio.run(migrate(settings.url.get_secret_value()))
    click.echo("the database is at the newest version")
