"""`alerts keys`: API keys, and the keys that encrypt what is secret."""

from uuid import UUID

import click

from api.administration import show_table, with_pool
from api.keys import ApiKeys, NewApiKey, Scope
from api.rotation_command import rotate
from runtime.clock import SystemClock
from runtime.environment import Environment
from runtime.examples import example
from runtime.settings import PostgresSettings, load_section


@click.group("keys", epilog=example("keys list"))
def command() -> None:
    """Create and revoke API keys; move what is encrypted to a new encryption key."""


command.add_command(rotate)


@command.command(epilog=example("keys create --scope platform --label laptop"))
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope]),
    required=True,
    help="platform: all users; user: one",
)
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


@command.command("list", epilog=example("keys list"))
@click.pass_obj
def list_keys(environment: Environment) -> None:
    """Show all keys, revoked ones too; never the keys themselves."""
    settings = load_section(PostgresSettings, environment.values)
    keys = with_pool(settings, lambda pool: ApiKeys(pool, SystemClock()).list_api_keys())
    rows = [(key.key_id, key.scope, key.user_id or "-", key.revoked_at or "-", key.label) for key in keys]
    show_table(("key_id", "scope", "user_id", "revoked", "label"), rows)


@command.command(epilog=example("keys revoke 019a0000-0000-7000-8000-00000000000a"))
@click.argument("key_id", type=click.UUID)
@click.pass_obj
def revoke(environment: Environment, key_id: UUID) -> None:
    """Make a key worthless from the next request on."""
    settings = load_section(PostgresSettings, environment.values)
    with_pool(settings, lambda pool: ApiKeys(pool, SystemClock()).revoke_api_key(key_id))
    click.echo("revoked")
