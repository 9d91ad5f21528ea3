"""`alerts up`: the supervisor's process."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from deploy.local.addresses import choose_addresses
from deploy.local.banner import banner
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
from runtime.errors import Failure, classify
from runtime.examples import example
from runtime.settings import load_section

EXIT_FAILED: Final = 1

T = TypeVar("T")

_ROOT: Final = Path(__file__).resolve().parents[2]


@click.command("up", epilog=example("up"))
@click.option("--with-parent", is_flag=True, help="also stop when the process that started this one ends")
@click.pass_obj
def command(environment: Environment, *, with_parent: bool) -> None:
    """Run the whole pipeline on this machine until Ctrl-C or SIGTERM."""
    layout = Layout(_ROOT)
    layout.logs.mkdir(parents=True, exist_ok=True)
    with lock(layout.lock), contextlib.closing(Ports()) as ports:
        sys.exit(run_plan(make_plan(layout, environment.values, ports), with_parent=with_parent))


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


def run_plan(plan: StackPlan, *, with_parent: bool = False) -> int:
    """Start the stack, keep it until a signal, stop it. Blocks; returns the exit code."""
    # A broker that is starting or restarting is no news; aiokafka would print each refused connection.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    for note in plan.addresses.notes:
        say(note)
    return asyncio.run(_run(plan, SystemClock(), with_parent=with_parent))


async def _run(plan: StackPlan, clock: Clock, *, with_parent: bool) -> int:
    stack = LocalStack(plan, clock, say)
    async with stop_signals() as signals:
        following = asyncio.create_task(follow_parent(clock, signals.stop.set)) if with_parent else None
        try:
            return await _live(stack, plan, signals)
        finally:
            if following is not None:
                following.cancel()
            await _stop(stack, signals)


async def _live(stack: LocalStack, plan: StackPlan, signals: StopSignals) -> int:
    say("starting…")
    try:
        demo = await _unless_stopped(stack.start(), signals)
        if demo is not None:
            say(banner(plan.layout, plan.addresses, demo))
            await _unless_stopped(stack.failed(), signals)
    except Exception as error:
        reasons = list(_leaves(error))
        if any(classify(reason) is Failure.BUG for reason in reasons):
            raise
        for reason in reasons:
            say(f"error: {reason or type(reason).__name__}")
        return EXIT_FAILED
    return 0


async def _unless_stopped(work: Coroutine[Any, Any, T], signals: StopSignals) -> T | None:
    """The result of the work, or None when a signal came first; then the work is cancelled."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(signals.stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait({working, stopping})


async def _stop(stack: LocalStack, signals: StopSignals) -> None:
    signals.stop.set()
    say("stopping…")
    stopping = asyncio.create_task(stack.stop())
    while not stopping.done():
        hurrying = asyncio.create_task(signals.hurry.wait())
        await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if signals.hurry.is_set():
            signals.hurry.clear()
            stopping.cancel()
    if not stopping.cancelled():
        stopping.result()
    say("stopped")


def say(text: str) -> None:
    """Tell the person at the terminal; that nobody reads is no reason to end."""
    try:
        click.echo(text)
    except OSError:
        # the interpreter's own last flush would fail as well
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in error.exceptions:
        yield from _leaves(inner)
