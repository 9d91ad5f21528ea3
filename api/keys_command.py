"""`alerts keys`: API keys."""

from uuid import UUID

import click

from api.administration import show_table, with_pool
from api.keys import ApiKeys, NewApiKey, Scope
from runtime.clock import SystemClock
from runtime.environment import Environment
from runtime.settings import PostgresSettings, load_section


@click.group("keys")
def command() -> None:
    """Create and revoke API keys."""


@command.command()
@click.option("--scope", type=click.Choice([scope.value for scope in Scope]), required=True)
@click.option("--user", "user_id", type=click.UUID, help="whose signals a key of scope user shows")
@click.option("--label", default="", help="what the key is for")
@click.pass_obj
def create(environment: Environment, scope: str, user_id: UUID | None, label: str) -> None:
    """Create a key and print it. It is not stored and cannot be shown again."""
    new = NewApiKey(label=label, user_id=user_id)
    if new.scope != scope:
        raise click.UsageError("--user goes with --scope user, and only with it")
    settings = load_section(PostgresSettings, environment.values)
    key = with_pool(settings, lambda pool: ApiKeys(pool, SystemClock()).create_api_key(new))
    click.echo(key.get_secret_value())


@command.command("list")
@click.pass_obj
def list_keys(environment: Environment) -> None:
    """Show all keys, revoked ones too; never the keys themselves."""
    settings = load_section(PostgresSettings, environment.values)
    keys = with_pool(settings, lambda pool: ApiKeys(pool, SystemClock()).list_api_keys())
    rows = [(key.key_id, key.scope, key.user_id or "-", key.revoked_at or "-", key.label) for key in keys]
    show_table(("key_id", "scope", "user_id", "revoked", "label"), rows)


@command.command()
@click.argument("key_id", type=click.UUID)
@click.pass_obj
def revoke(environment: Environment, key_id: UUID) -> None:
    """Make a key worthless from the next request on."""
    settings = load_section(PostgresSettings, environment.values)
    with_pool(settings, lambda pool: ApiKeys(pool, SystemClock()).revoke_api_key(key_id))
    click.echo("revoked")
