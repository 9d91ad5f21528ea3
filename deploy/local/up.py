"""`alerts up`: the supervisor's process."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from deploy.local.addresses import choose_addresses
from deploy.local.banner import banner
from deploy.local.errors import LocalError
from deploy.local.files import lock
from deploy.local.keychain import load_keychain
from deploy.local.layout import Layout
from deploy.local.parent import follow_parent
from deploy.local.ports import Ports
from deploy.local.settings import LocalSettings
from deploy.local.stack import LocalStack, StackPlan
from deploy.local.stop_signals import StopSignals, stop_signals
from runtime.clock import Clock, SystemClock
from runtime.environment import Environment
from runtime.settings import load_section

EXIT_FAILED: Final = 1

_ROOT: Final = Path(__file__).resolve().parents[2]


@click.command("up")
@click.option("--with-parent", is_flag=True, help="also stop when the process that started this one ends")
@click.pass_obj
def command(environment: Environment, *, with_parent: bool) -> None:
    """Run the whole pipeline on this machine until Ctrl-C or SIGTERM."""
    # A broker that is starting or restarting is no news; aiokafka would print each refused connection.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    layout = Layout(_ROOT)
    layout.logs.mkdir(parents=True, exist_ok=True)
    with lock(layout.lock), contextlib.closing(Ports()) as ports:
        plan = make_plan(layout, environment.values, ports)
        for note in plan.addresses.notes:
            say(note)
        sys.exit(asyncio.run(run(plan, SystemClock(), with_parent=with_parent)))


def make_plan(layout: Layout, values: Mapping[str, str], ports: Ports) -> StackPlan:
    """Decide everything. Raises `SettingsError` or `LocalError`."""
    settings = load_section(LocalSettings, values)
    return StackPlan(
        layout=layout,
        values=values,
        settings=settings,
        addresses=choose_addresses(settings, ports),
        keychain=load_keychain(layout.secrets),
        command=(sys.executable, str(Path(sys.executable).with_name("alerts"))),
    )


async def run(plan: StackPlan, clock: Clock, *, with_parent: bool) -> int:
    """Start the stack, keep it until a signal, stop it. Returns the exit code."""
    stack = LocalStack(plan, clock, say)
    async with stop_signals() as signals:
        following = asyncio.create_task(follow_parent(clock, signals.receive)) if with_parent else None
        try:
            return await _live(stack, plan, signals)
        finally:
            await _stop(stack, signals)
            if following is not None:
                following.cancel()


async def _live(stack: LocalStack, plan: StackPlan, signals: StopSignals) -> int:
    say("starting…")
    try:
        demo = await _unless_stopped(stack.start(), signals)
        if demo is not None:
            say(banner(plan.layout, plan.addresses, demo))
            await _unless_stopped(stack.failed(), signals)
    except* (LocalError, OSError) as group:
        for error in _leaves(group):
            say(f"error: {error}")
        return EXIT_FAILED
    return 0
