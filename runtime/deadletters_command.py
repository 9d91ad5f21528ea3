"""`alerts deadletters`: look at what the pipeline could not handle, and put it back once the cause is gone.

A redrive remembers nothing. Redriving the same letters again is harmless, since every store keeps the first
of what has one id; `--from` only saves the time. A place is enough to go on: letters are taken in the order
of their places, and only those that were there at the start, so that what dies again is not taken twice.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import IO, Any, Final

import click

from runtime.clock import SystemClock
from runtime.deadletter_log import Place, Span, StoredLetter, open_deadletter_log
from runtime.deadletter_options import PlaceType, Selection, selecting
from runtime.deadletter_postmark import Postmark
from runtime.deadletter_redrive import Redrive, Redriven, refusal_of
from runtime.deadletter_view import HEADER, escaped, full_view, json_line, table, table_row
from runtime.environment import Environment
from runtime.examples import example
from runtime.pacer import Pacer
from runtime.publisher import open_publisher
from runtime.settings import KafkaSettings, load_section

LIST_LIMIT: Final = 100
RATE_PER_S: Final = 50.0


@click.group("deadletters", epilog=example("deadletters list"))
@click.pass_context
def command(context: click.Context) -> None:
    """See what could not be handled, and put it back."""
    environment: Environment = context.obj
    # not before a command runs: help needs no settings
    context.obj = lambda: load_section(KafkaSettings, environment.values)


Settings = Callable[[], KafkaSettings]


@command.command("list", epilog=example("deadletters list", "deadletters list --json"))
@selecting(LIST_LIMIT)
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
@click.pass_obj
def list_letters(settings: Settings, selection: Selection, *, as_json: bool) -> None:
    """Show letters in the order of their places, oldest first in each partition."""
    rows: list[Sequence[str]] = [HEADER]

    def note(letter: StoredLetter) -> None:
        # its value, up to 4 MiB, is let go
        if as_json:
            click.echo(json_line(letter))
        else:
            rows.append(table_row(letter))

    count, next_place = asyncio.run(_each(settings(), selection, note))
    for line in () if as_json else table(rows):
        click.echo(line)
    if count == selection.limit:
        click.echo(f"limit reached; more with --from {next_place}", err=True)


async def _each(
    settings: KafkaSettings, selection: Selection, note: Callable[[StoredLetter], None]
) -> tuple[int, Place]:
    """How many there were, and the place behind the last."""
    count, next_place = 0, selection.first or Place(0, 0)
    async with open_deadletter_log(settings) as log:
        async for letter in selection.letters(log, await selection.spans(log)):
            note(letter)
            count, next_place = count + 1, letter.place.next
    return count, next_place


@command.command(epilog=example("deadletters show 0:17"))
@click.argument("place", type=PlaceType())
@click.option("--output", type=click.File("wb"), help="write the raw value to this file, - for the output")
@click.pass_obj
def show(settings: Settings, place: Place, output: IO[bytes] | None) -> None:
    """Show the letter at PARTITION:OFFSET: why it is here, its headers and the beginning of its value.

    Control characters are escaped and what looks like a secret is hidden; --output writes all as it came.
    """

    async def find() -> StoredLetter | None:
        async with open_deadletter_log(settings()) as log:
            return await log.letter_at(place)

    letter = asyncio.run(find())
    if letter is None:
        raise click.ClickException(f"no letter at {place}")
    if output is not None:
        output.write(letter.value)
        return
    for line in full_view(letter):
        click.echo(line)


@command.command(epilog=example("deadletters redrive --dry-run"))
@selecting(None)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=RATE_PER_S,
    show_default=True,
    help="letters a second",
)
@click.option("--dry-run", is_flag=True, help="only say what would be put back")
@click.option("--yes", is_flag=True, help="do not ask")
@click.pass_obj
def redrive(settings: Settings, selection: Selection, *, rate: float, dry_run: bool, yes: bool) -> None:
    """Put letters back on the topics they came from, for the stage that failed.

    Fix the cause first. Doing it twice is harmless: what is stored already is not stored again. Exits with 1
    when some letters could not be put back.
    """
    kafka = settings()
    plan = asyncio.run(_plan(kafka, selection))
    plan.show()
    if dry_run:
        return
    if plan.redrivable:
        if not yes:
            click.confirm(f"Put {plan.redrivable} letters back?", abort=True)
        refused = _redrive(kafka, selection, plan, rate)
    else:
        refused = bool(plan.refused)
    sys.exit(1 if refused else 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a redrive will do, with the places of the letters that were there when it was asked for."""

    spans: list[Span]
    back: Counter[tuple[str, str, str]]
    refused: Counter[str]

    @property
    def redrivable(self) -> int:
        return self.back.total()

    def show(self) -> None:
        rows = [(*kind, str(count)) for kind, count in sorted(self.back.items())]
        if rows:
            escaped_rows = [[escaped(cell) for cell in row] for row in rows]
            for line in table([("topic", "stage", "reason", "letters"), *escaped_rows]):
                click.echo(line)
        _show_counts(0, self.refused)
        if not rows:
            click.echo("nothing to put back")


async def _plan(settings: KafkaSettings, selection: Selection) -> Plan:
    async with open_deadletter_log(settings) as log:
        plan = Plan(await selection.spans(log), Counter(), Counter())
        async for letter in selection.letters(log, plan.spans):
            postmark, refusal = letter.postmark, refusal_of(letter)
            if isinstance(postmark, Postmark) and refusal is None:
                plan.back[postmark.topic, postmark.stage, postmark.reason] += 1
            else:
                plan.refused[refusal or ""] += 1
    return plan


def _redrive(settings: KafkaSettings, selection: Selection, plan: Plan, rate_per_s: float) -> bool:
    """Whether letters were refused. However it ends, it says how to go on."""
    progress = Redriven(selection.first or Place(0, 0))

    async def put_back(on_done: Callable[[int], None]) -> None:
        async with (
            open_deadletter_log(settings) as log,
            open_publisher(settings, "alerts-redrive") as publisher,
            aclosing(selection.letters(log, plan.spans)) as letters,
        ):
            redriving = Redrive(publisher, Pacer(rate_per_s, SystemClock()), progress)
            await redriving.run(letters, on_done)

    finished = False
    try:
        with _progress_bar(plan, progress) as bar:
            asyncio.run(put_back(bar.update))
        finished = True
    finally:
        _show_counts(progress.redriven, progress.refused)
        if not finished:
            click.echo(f"not finished; go on with {_from(progress)}, or repeat all: both are harmless")
    return bool(progress.refused)


def _progress_bar(plan: Plan, progress: Redriven) -> AbstractContextManager[Any]:
    return click.progressbar(
        length=plan.redrivable + plan.refused.total(),
        label="putting back",
        show_pos=True,
        # the last that is seen of a redrive that is killed
        item_show_func=lambda _item: _from(progress),
    )


def _from(progress: Redriven) -> str:
    return f"--from {progress.next_place}"


def _show_counts(redriven: int, refused: Counter[str]) -> None:
    if redriven:
        click.echo(f"{redriven} put back")
    for reason, count in sorted(refused.items()):
        click.echo(f"{count} refused: {escaped(reason)}")
