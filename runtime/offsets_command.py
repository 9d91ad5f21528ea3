"""`alerts offsets`: where the consumer groups that feed the store are; saved beside a dump and set again.

A dump holds at least what the offsets read before it say, so reading again from there completes it, and what
is met twice changes nothing.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from runtime.clock import SystemClock
from runtime.deadletter_view import table
from runtime.disk import sync_folder
from runtime.environment import Environment
from runtime.examples import example
from runtime.offsets import STORE_GROUPS, decode_offsets, encode_offsets
from runtime.offsets_survey import (
    DEADLINE_S,
    Plan,
    Wish,
    answered,
    plan_restore,
    read_offsets,
    set_offsets,
    unread,
)
from runtime.settings import KafkaSettings, load_section

WAIT_S: Final = 20.0

_GROUP_OPTION: Final = click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help=f"only this one, may be repeated; else {' and '.join(STORE_GROUPS)}",
)


@click.group("offsets", epilog=example("offsets show"))
def command() -> None:
    """Save and restore how far the store's consumer groups have read."""


@command.command(epilog="Example: alerts offsets save offsets.json")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_GROUP_OPTION
@click.pass_obj
def save(environment: Environment, file: Path, groups: tuple[str, ...]) -> None:
    """Write the committed offsets to FILE. Do it before the dump's snapshot is taken, never after."""
    settings = load_section(KafkaSettings, environment.values)
    saved = asyncio.run(answered(lambda: read_offsets(settings, groups, SystemClock())))
    _write(file, encode_offsets(saved))
    for group, topics in saved.groups.items():
        click.echo(f"saved {group}: {', '.join(topics) or 'has committed nothing'}")


@command.command(epilog="Example: alerts offsets show")
@_GROUP_OPTION
@click.pass_obj
def show(environment: Environment, groups: tuple[str, ...]) -> None:
    """Show how many records each group has not read yet. 0 everywhere: it has caught up."""
    settings = load_section(KafkaSettings, environment.values)
    rows = asyncio.run(answered(lambda: unread(settings, groups)))
    for line in table([("group", "topic", "partitions", "not read"), *rows]):
        click.echo(line)


@command.command(epilog="Example: alerts offsets restore offsets.json --dry-run")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_GROUP_OPTION
@click.option("--topic", "topics", multiple=True, metavar="NAME", help="only this one, may be repeated")
@click.option("--dry-run", is_flag=True, help="check everything, set nothing")
@click.option("--accept-loss", is_flag=True, help="go on although records are gone from the topics")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=WAIT_S,
    show_default=True,
    help="seconds for the groups' processes to end",
)
@click.pass_obj
def restore(  # noqa: PLR0913 - click passes each option
    environment: Environment,
    file: Path,
    groups: tuple[str, ...],
    topics: tuple[str, ...],
    *,
    dry_run: bool,
    accept_loss: bool,
    wait_s: float,
) -> None:
    """Set the groups to the offsets in FILE, so that they read again all that is newer than its dump.

    Stop `alerts sink` first. Where the topics no longer hold what came after the dump, it names the gap, sets
    nothing and exits with 1; --accept-loss goes on from what is left.
    """
    settings = load_section(KafkaSettings, environment.values)
    saved, wish = decode_offsets(file.read_bytes()), Wish(groups, topics, wait_s)
    plan = asyncio.run(answered(lambda: plan_restore(settings, saved, wish), DEADLINE_S + wait_s))
    lost = _show(plan)
    if lost and not accept_loss:
        click.echo("nothing was set; --accept-loss goes on without these records", err=True)
        sys.exit(1)
    if dry_run:
        click.echo("a dry run: nothing was set")
        return
    done = asyncio.run(answered(lambda: set_offsets(settings, plan)))
    click.echo(f"set {', '.join(done)}; its processes may start" if done else "there was nothing to set")


def _show(plan: Plan) -> bool:
    """Whether records are lost. Each gap gets a line of its own."""
    rows: list[Sequence[str]] = [("group", "topic", "partitions", "records to read")]
    for group, moves in plan.items():
        for topic in sorted({move.place.topic for move in moves}):
            of_topic = [move for move in moves if move.place.topic == topic]
            rows.append((group, topic, str(len(of_topic)), str(sum(move.again for move in of_topic))))
    for line in table(rows):
        click.echo(line)
    lost = [(group, move) for group, moves in plan.items() for move in moves if move.loss]
    for group, move in lost:
        click.echo(f"LOST {group} {move.place.topic} {move.place.partition}: {move.loss}", err=True)
    return bool(lost)


def _write(file: Path, content: bytes) -> None:
    """The file gets its name when it is complete and on the disk."""
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("wb") as output:
        output.write(content)
        output.flush()
        os.fsync(output.fileno())
    partial.replace(file)
    sync_folder(file.parent)
