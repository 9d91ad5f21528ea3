"""`alerts partitions`: partitions of the big tables, made ahead and removed when no plan keeps them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import asyncpg
import click

from runtime.clock import SystemClock, utc_now
from runtime.environment import Environment
from runtime.examples import example
from runtime.postgres import Pool, open_pool
from runtime.settings import load_settings
from sinks.partitions import Partitions
from sinks.retention import Due, Retained, Retention
from sinks.settings import PartitionsSettings

ADVICE: Final = (
    (asyncpg.UndefinedTableError, "run `alerts migrate` first"),
    (asyncpg.UndefinedFunctionError, "run `alerts migrate` first"),
    (asyncpg.InsufficientPrivilegeError, "set SINK_OWNER_URL to the database as the owner of its tables"),
    (asyncpg.LockNotAvailableError, "another session holds a lock on the table; try again later"),
    (OSError, "is the database of DATABASE_URL or SINK_OWNER_URL running?"),
    (TimeoutError, "the database does not answer; try again later"),
)

T = TypeVar("T")
Work = Callable[[Pool, PartitionsSettings], Awaitable[T]]


@click.group("partitions", epilog=example("partitions retain --dry-run"))
def command() -> None:
    """Make and remove partitions of the signals and audit tables.

    `alerts sink` does both by itself; use these to do it at a chosen time or under another database role.
    """


@command.command()
@click.pass_obj
def ensure(environment: Environment) -> None:
    """Make the partitions of today and two widths ahead that are missing.

    Safe to repeat and to run beside sinks and dumps. SINK_PARTITION_WIDTH says how wide new ones are.

    \b
    Example:
      SINK_PARTITION_WIDTH=week alerts partitions ensure
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    made = _run(environment, _ensure)
    for name in made:
        click.echo(f"made {name}")
    if not made:
        click.echo("nothing is missing")


@command.command()
@click.option("--dry-run", is_flag=True, help="only say what would be removed")
@click.pass_obj
def retain(environment: Environment, *, dry_run: bool) -> None:
    """Remove what the plans no longer keep: rows in small batches, old partitions as a whole.

    Partitions that a dump or a query uses stay for the next time. Stopping it does no harm; the next run goes
    on. Needs the owner of the tables: DATABASE_URL or, if set, SINK_OWNER_URL.

    \b
    Example:
      alerts partitions retain --dry-run
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    if dry_run:
        _show_due(_run(environment, _due))
    else:
        _show_removed(_run(environment, _retain))


async def _ensure(pool: Pool, settings: PartitionsSettings) -> list[str]:
    return await Partitions(pool, settings.housekeeping.partition_width).ensure(utc_now(SystemClock()))


async def _due(pool: Pool, _settings: PartitionsSettings) -> Due:
    return await Retention(pool, SystemClock()).due()


async def _retain(pool: Pool, _settings: PartitionsSettings) -> Retained | None:
    if not sys.stderr.isatty():
        return await Retention(pool, SystemClock()).run()
    rows = sum(due.rows for due in (await Retention(pool, SystemClock()).due()).rows)
    bar: Any
    with click.progressbar(length=rows, label="deleting rows", show_pos=True, file=sys.stderr) as bar:
        return await Retention(pool, SystemClock(), bar.update).run()


def _run(environment: Environment, work: Work[T]) -> T:
    settings = load_settings(PartitionsSettings, environment.values)

    async def run() -> T:
        async with open_pool(settings.housekeeping.postgres(settings.postgres), "partitions") as pool:
            return await work(pool, settings)

    with _advising():
        return asyncio.run(run())


@contextmanager
def _advising() -> Iterator[None]:
    """Expected errors say what to do about them."""
    try:
        yield
    except tuple(kind for kind, _advice in ADVICE) as error:
        advice = next(advice for kind, advice in ADVICE if isinstance(error, kind))
        raise click.ClickException(f"{error or type(error).__name__}: {advice}") from error


def _show_due(due: Due) -> None:
    for name, about_rows in due.partitions.items():
        rows = f"about {about_rows} rows" if about_rows >= 0 else "unknown number of rows"
        click.echo(f"partition {name}: {rows}")
    for entry in due.rows:
        click.echo(f"{entry.table}, plan {entry.plan}: {entry.rows} rows")
    if not due.partitions and not due.rows:
        click.echo("nothing is due")


def _show_removed(removed: Retained | None) -> None:
    if removed is None:
        raise click.ClickException("another process is removing what is due; nothing to do here")
    for name in removed.partitions:
        click.echo(f"dropped {name}")
    for name in removed.in_use:
        click.echo(f"in use, left for the next run: {name}")
    for table, rows in removed.rows.items():
        click.echo(f"deleted {rows} rows of {table}")
