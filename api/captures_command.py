"""`alerts captures`: the switch that stops the captures of all users."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from api.administration import with_pool
from api.captures import CaptureState, CaptureSwitch, CaptureUsers
from runtime.clock import SystemClock
from runtime.environment import Environment
from runtime.settings import PostgresSettings, load_section

T = TypeVar("T")


@click.group("captures")
def command() -> None:
    """Stop and start the captures of all users; for one user: `alerts users captures`.

    \b
    Example:
      alerts captures status
    """  # noqa: D301 - \b is click's mark for lines that stay as they are


@command.command()
@click.option("--reason", required=True, help="why; shown by `alerts captures status`")
@click.pass_obj
def stop(environment: Environment, reason: str) -> None:
    """Stop all captures, from the next try of every worker on; no restart is needed.

    Pictures that are asked for meanwhile are skipped, with the reason `captures_stopped`, and not made later.

    \b
    Example:
      alerts captures stop --reason "the site has asked for a pause"
    """  # noqa: D301 - as above
    _run(environment, lambda switch: switch.stop(reason))
    click.echo("captures stopped for all users")


@command.command()
@click.pass_obj
def start(environment: Environment) -> None:
    """Take captures again. Users who were stopped on their own stay stopped.

    \b
    Example:
      alerts captures start
    """  # noqa: D301 - as above
    _run(environment, lambda switch: switch.start())
    click.echo("captures started")


@command.command()
@click.pass_obj
def status(environment: Environment) -> None:
    """Show the switch, and how many users get no pictures and why.

    \b
    Example:
      alerts captures status
    """  # noqa: D301 - as above

    async def look(switch: CaptureSwitch) -> tuple[CaptureState, CaptureUsers]:
        return await switch.state(), await switch.users()

    state, users = _run(environment, look)
    click.echo(f"{'captures':20} {'stopped' if state.stopped else 'on'}")
    if state.reason is not None:
        click.echo(f"{'reason':20} {state.reason}")
    if state.changed_at is not None:
        click.echo(f"{'since':20} {state.changed_at:%Y-%m-%d %H:%M:%S} UTC")
    for name in CaptureUsers.__dataclass_fields__:
        click.echo(f"{'users_' + name:20} {getattr(users, name)}")


def _run(environment: Environment, work: Callable[[CaptureSwitch], Awaitable[T]]) -> T:
    settings = load_section(PostgresSettings, environment.values)
    return with_pool(settings, lambda pool: work(CaptureSwitch(pool, SystemClock())))
