"""`alerts users`: the tenants. Cookies are never arguments: those show in the list of processes."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Final, TypeVar
from uuid import UUID

import click
from pydantic import SecretStr

from api.administration import show_table, with_pool
from api.quota_command import release_parked
from api.settings import UsersSettings
from api.tenants import Tenants
from api.users import NewUser, UserSummary
from runtime.addresses import parse_list
from runtime.clock import SystemClock
from runtime.encryption import KeyRing, parse_keys
from runtime.environment import Environment
from runtime.errors import InvalidError
from runtime.examples import example
from runtime.settings import load_settings
from schemas.plans import Plan

GRACE_HOURS: Final = 24

_USER: Final = "019a0000-0000-7000-8000-00000000000a"
"""In examples."""

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


def _checked_addresses(
    _context: click.Context, _parameter: click.Parameter, entries: Sequence[str]
) -> Sequence[str]:
    try:
        parse_list(entries)
    except InvalidError as error:
        raise click.BadParameter(str(error)) from error
    return entries


@click.group("users", epilog=example("users list"))
@click.pass_context
def command(context: click.Context) -> None:
    """Create and change tenants."""
    context.obj = Administration(context.obj)


command.add_command(release_parked)


@command.command("add", epilog=example("users add --name ana --plan free --chart Ab3dE9xZ"))
@click.option("--name", required=True, help="what people call the user")
@click.option(
    "--plan", type=click.Choice([plan.value for plan in Plan]), required=True, help="sets rates and quota"
)
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


@command.command(epilog=example(f"users show {_USER}", f"users show {_USER} --reveal"))
@user_argument
@click.option("--reveal", is_flag=True, help="also print the webhook URL, which is a secret")
@click.pass_obj
def show(administration: Administration, user_id: UUID, *, reveal: bool) -> None:
    """Show a user."""
    user = administration.run(lambda tenants: tenants.get_user(user_id))
    shown = {name: getattr(user, name) for name in UserSummary.__dataclass_fields__}
    for name, value in {**shown, "allowed_addresses": _listed(user.allowed_addresses)}.items():
        _show(name, value)
    if reveal:
        administration.show_webhook_url(administration.run(lambda tenants: tenants.webhook_token(user_id)))


@command.command("list", epilog=example("users list"))
@click.pass_obj
def list_users(administration: Administration) -> None:
    """Show all users that are not deleted."""
    users = administration.run(lambda tenants: tenants.list_users())
    rows = [
        (user.user_id, user.plan, user.webhook_enabled, user.captures, user.usage, _senders(user), user.name)
        for user in users
    ]
    show_table(("user_id", "plan", "webhook", "captures", "signals", "senders", "name"), rows)


@command.command("set-session", epilog=example(f"users set-session {_USER}"))
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


@command.command(epilog=example(f"users captures {_USER} --on"))
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


@command.command("set-plan", epilog=example(f"users set-plan {_USER} premium"))
@user_argument
@click.argument("plan", type=click.Choice([plan.value for plan in Plan]))
@click.pass_obj
def set_plan(administration: Administration, user_id: UUID, plan: str) -> None:
    """Put a user on another plan, with its rates and quota; in force everywhere within seconds."""
    administration.run(lambda tenants: tenants.set_plan(user_id, Plan(plan)))
    click.echo(f"plan {plan}")


@command.command("set-addresses", epilog=example(f"users set-addresses {_USER} tradingview 203.0.113.0/24"))
@user_argument
@click.argument("entries", metavar="[ENTRY]...", nargs=-1, callback=_checked_addresses)
@click.pass_obj
def set_addresses(administration: Administration, user_id: UUID, entries: Sequence[str]) -> None:
    """Say from where a user's alerts may come; calls from elsewhere are answered 403, and lost.

    Each entry is an address, a network such as 203.0.113.0/24, or `tradingview` for the addresses that
    TradingView publishes. They replace those set before; without an entry alerts may come from anywhere.
    """
    administration.run(lambda tenants: tenants.set_allowed_addresses(user_id, entries))
    click.echo(f"addresses {_listed(entries)}")


@command.command(epilog=example(f"users disable {_USER}"))
@user_argument
@click.pass_obj
def disable(administration: Administration, user_id: UUID) -> None:
    """Switch a user's webhook off: calls are answered 403, and alerts sent meanwhile are lost."""
    administration.run(lambda tenants: tenants.set_webhook_enabled(user_id, enabled=False))
    click.echo("webhook off")


@command.command(epilog=example(f"users enable {_USER}"))
@user_argument
@click.pass_obj
def enable(administration: Administration, user_id: UUID) -> None:
    """Switch a user's webhook on again."""
    administration.run(lambda tenants: tenants.set_webhook_enabled(user_id, enabled=True))
    click.echo("webhook on")


@command.command("rotate-token", epilog=example(f"users rotate-token {_USER} --grace-hours 48"))
@user_argument
@click.option(
    "--grace-hours",
    type=click.FloatRange(0, 24 * 30),
    default=GRACE_HOURS,
    show_default=True,
    help="how long the old URL works on",
)
@click.pass_obj
def rotate_token(administration: Administration, user_id: UUID, grace_hours: float) -> None:
    """Give a user a new webhook URL; the old one works for the grace time. 0 for one that has leaked."""
    grace = timedelta(hours=grace_hours)
    administration.show_webhook_url(administration.run(lambda tenants: tenants.rotate_token(user_id, grace)))


@command.command(epilog=example(f"users delete {_USER}"))
@user_argument
@click.confirmation_option(prompt="Delete this user?")
@click.pass_obj
def delete(administration: Administration, user_id: UUID) -> None:
    """Delete a user: webhook and keys stop working, cookies are erased, signals are kept for their time."""
    administration.run(lambda tenants: tenants.delete_user(user_id))
    click.echo("deleted")


def _show(name: str, value: object) -> None:
    click.echo(f"{name:20} {'-' if value is None else value}")


def _listed(entries: Sequence[str]) -> str:
    return " ".join(entries) or "any"


def _senders(user: UserSummary) -> str:
    return "listed" if user.allowed_addresses else "any"


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
