"""`alerts users`: the tenants. Cookies are never arguments: those show in the list of processes."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cached_property
from typing import Final, TypeVar
from uuid import UUID

import click
from pydantic import SecretStr

from api.administration import show_table, with_pool
from api.settings import UsersSettings
from api.tenants import Tenants
from api.users import NewUser, UserSummary
from runtime.clock import SystemClock
from runtime.encryption import KeyRing, parse_keys
from runtime.environment import Environment
from runtime.settings import load_settings
from schemas.plans import Plan

GRACE_HOURS: Final = 24

_COOKIES: Final = {"TV_SESSIONID": "sessionid", "TV_SESSIONID_SIGN": "sessionid_sign"}

T = TypeVar("T")
Work = Callable[[Tenants], Awaitable[T]]

user_argument = click.argument("user_id", type=click.UUID)


class Administration:
    """One call of a command: its settings, and tenants to work on."""

    def __init__(self, environment: Environment) -> None:
        self.values = environment.values

    def run(self, work: Work[T]) -> T:
        keyring = KeyRing(parse_keys(self._settings.encryption.keys))
        return with_pool(self._settings.postgres, lambda pool: work(Tenants(pool, keyring, SystemClock())))

    def show_webhook_url(self, token: SecretStr) -> None:
        _show("webhook_url", self._settings.webhooks.webhook_url(token))

    @cached_property
    def _settings(self) -> UsersSettings:
        # not before a command runs: help needs no settings
        return load_settings(UsersSettings, self.values)


@click.group("users")
@click.pass_context
def command(context: click.Context) -> None:
    """Create and change tenants."""
    context.obj = Administration(context.obj)


@command.command("add")
@click.option("--name", required=True)
@click.option("--plan", type=click.Choice([plan.value for plan in Plan]), required=True)
@click.option("--chart", "chart_id", help="chart layout captured when an alert names none")
@click.option("--id", "user_id", type=click.UUID, help="id of the user; unset: a new one")
@click.pass_obj
def add(
    administration: Administration, name: str, plan: str, chart_id: str | None, user_id: UUID | None
) -> None:
    """Create a user and print the webhook URL; with the id of one who exists, change that one."""
    new = NewUser(name=name, plan=Plan(plan), default_chart_id=chart_id, user_id=user_id)
    user = administration.run(lambda tenants: tenants.create_user(new))
    _show("user_id", user.user_id)
    administration.show_webhook_url(user.token)


@command.command()
@user_argument
@click.option("--reveal", is_flag=True, help="also print the webhook URL, which is a secret")
@click.pass_obj
def show(administration: Administration, user_id: UUID, *, reveal: bool) -> None:
    """Show a user."""
    user = administration.run(lambda tenants: tenants.get_user(user_id))
    for name in UserSummary.__dataclass_fields__:
        _show(name, getattr(user, name))
    if reveal:
        administration.show_webhook_url(administration.run(lambda tenants: tenants.webhook_token(user_id)))


@command.command("list")
@click.pass_obj
def list_users(administration: Administration) -> None:
    """Show all users that are not deleted."""
    users = administration.run(lambda tenants: tenants.list_users())
    rows = [(user.user_id, user.plan, user.webhook_enabled, user.captures, user.name) for user in users]
    show_table(("user_id", "plan", "webhook", "captures", "name"), rows)


@command.command("set-session")
@user_argument
@click.pass_obj
def set_session(administration: Administration, user_id: UUID) -> None:
    """Store the cookies of the user's TradingView session, encrypted.

    They are read from the variables TV_SESSIONID and TV_SESSIONID_SIGN, else asked for at a terminal, else
    read from the first two lines of the standard input.
    """
    sessionid, sessionid_sign = _read_cookies(administration)
    administration.run(lambda tenants: tenants.set_session(user_id, sessionid, sessionid_sign))
    click.echo("stored")


@command.command()
@user_argument
@click.option("--on", "state", flag_value="on", help="the user has agreed; also releases a stop")
@click.option("--off", "state", flag_value="off", help="the user no longer agrees")
@click.option("--stop", "state", flag_value="stop", help="kill switch; the user's consent stays on record")
@click.pass_obj
def captures(administration: Administration, user_id: UUID, state: str | None) -> None:
    """Switch the captures of a user's charts on or off."""
    if state is None:
        raise click.UsageError("one of --on, --off and --stop is needed")

    async def switch(tenants: Tenants) -> None:
        if state == "stop":
            await tenants.stop_captures(user_id, "stopped_by_operator")
        else:
            await tenants.set_captures(user_id, consented=state == "on")

    administration.run(switch)
    click.echo(f"captures {state}")


@command.command("set-plan")
@user_argument
@click.argument("plan", type=click.Choice([plan.value for plan in Plan]))
@click.pass_obj
def set_plan(administration: Administration, user_id: UUID, plan: str) -> None:
    """Put a user on another plan, with its rates and quota; in force everywhere within seconds."""
    administration.run(lambda tenants: tenants.set_plan(user_id, Plan(plan)))
    click.echo(f"plan {plan}")


@command.command()
@user_argument
@click.pass_obj
def disable(administration: Administration, user_id: UUID) -> None:
    """Switch a user's webhook off: calls are answered 403, and alerts sent meanwhile are lost."""
    administration.run(lambda tenants: tenants.set_webhook_enabled(user_id, enabled=False))
    click.echo("webhook off")


@command.command()
@user_argument
@click.pass_obj
def enable(administration: Administration, user_id: UUID) -> None:
    """Switch a user's webhook on again."""
    administration.run(lambda tenants: tenants.set_webhook_enabled(user_id, enabled=True))
    click.echo("webhook on")


@command.command("rotate-token")
@user_argument
@click.option("--grace-hours", type=click.FloatRange(0, 24 * 30), default=GRACE_HOURS, show_default=True)
@click.pass_obj
def rotate_token(administration: Administration, user_id: UUID, grace_hours: float) -> None:
    """Give a user a new webhook URL; the old one works for the grace time. 0 for one that has leaked."""
    grace = timedelta(hours=grace_hours)
    administration.show_webhook_url(administration.run(lambda tenants: tenants.rotate_token(user_id, grace)))


@command.command()
@user_argument
@click.confirmation_option(prompt="Delete this user?")
@click.pass_obj
def delete(administration: Administration, user_id: UUID) -> None:
    """Delete a user: webhook and keys stop working, cookies are erased, signals are kept for their time."""
    administration.run(lambda tenants: tenants.delete_user(user_id))
    click.echo("deleted")


def _show(name: str, value: object) -> None:
    click.echo(f"{name:20} {'-' if value is None else value}")


def _read_cookies(administration: Administration) -> tuple[SecretStr, SecretStr]:
    first, second = (administration.values.get(variable) for variable in _COOKIES)
    if first and second:
        return SecretStr(first), SecretStr(second)
    stdin = click.get_text_stream("stdin")
    if stdin.isatty():
        first, second = (click.prompt(name, hide_input=True) for name in _COOKIES.values())
    else:
        first, second = stdin.readline(), stdin.readline()
    return SecretStr(first.strip()), SecretStr(second.strip())
