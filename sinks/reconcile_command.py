"""`alerts reconcile`: prove from the topics that nothing accepted is lost."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import click

from runtime.clock import SystemClock
from runtime.deadletter_options import MomentType
from runtime.environment import Environment
from runtime.errors import Failure, FatalError, classify
from runtime.examples import example
from runtime.postgres import open_pool
from runtime.settings import KafkaSettings, PostgresSettings, load_settings
from sinks.reconcile import Window
from sinks.reconcile_ledger import Ledger
from sinks.reconcile_run import Reconciliation
from sinks.reconcile_spool import SpoolDepth, read_spools
from sinks.reconcile_store import PostgresOutcomes
from sinks.reconcile_topics import open_topics
from sinks.reconcile_view import Report, report_json, report_lines

GAP: Final = 1
UNPROVED: Final = 3
"""Exit code when something did not answer: neither clean nor a gap."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BAR_STEPS: Final = 500
_POSTGRES_HINT: Final = "see that it runs, that DATABASE_URL names it and that `alerts migrate` was run"


class UnprovedError(click.ClickException):
    """The run came to no result."""

    exit_code = UNPROVED


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    kafka: KafkaSettings
    postgres: PostgresSettings


@click.command(
    "reconcile",
    epilog=example("reconcile", "reconcile --from 24h --user 019a0000-0000-7000-8000-00000000000a"),
)
@click.option("--from", "since", type=MomentType(), help="received at or after this time, or this long ago")
@click.option("--to", "until", type=MomentType(), help="received before this time, or longer ago than this")
@click.option("--user", "user_id", type=click.UUID, metavar="USER_ID", help="only this tenant's alerts")
@click.option(
    "--ingress",
    "ingresses",
    multiple=True,
    metavar="URL",
    help="operations address of an ingress, whose spool is shown; may be repeated",
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object, with every missing id")
@click.pass_obj
def command(  # noqa: PLR0913 - click passes each option
    environment: Environment,
    *,
    since: datetime | None,
    until: datetime | None,
    user_id: UUID | None,
    ingresses: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare what was accepted with what became of it.

    Reads the topics, asks the database, and shows per tenant and hour how many alerts were stored, parked,
    dead, expired or of a deleted tenant. What is not consumed yet is in flight. What is nowhere is missing,
    and named. Changes nothing.

    Exits with 0 when nothing is missing, 1 when something is, 2 when it was called wrongly, and 3 when
    Kafka, the database or an ingress did not answer.
    """
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--from must be before --to")
    settings = load_settings(ReconcileSettings, environment.values)
    window = Window(_unix_ms(since), _unix_ms(until), user_id.bytes if user_id else None)
    ledger = Ledger()
    try:
        report = asyncio.run(_reconcile(settings, window, ledger, ingresses))
        for piece in report_json(report) if as_json else report_lines(report):
            click.echo(piece, nl=not as_json)
    finally:
        ledger.close()
    sys.exit(GAP if report.gap else 0)


async def _reconcile(
    settings: ReconcileSettings, window: Window, ledger: Ledger, ingresses: tuple[str, ...]
) -> Report:
    # before the topics: what leaves a spool meanwhile is counted twice rather than not at all
    spools = await _spools(ingresses)
    async with _open_run(settings, window, ledger) as run:
        offsets = await run.begin()
        with _bar(offsets, "reading the topics") as bar:
            await run.read(bar.update)
        with _bar(ledger.accepted(), "asking the database") as bar:
            await run.settle(bar.update)
        await run.look_again()
    return Report(window, ledger.tally(), ledger.totals(), ledger.missing(), run.reading.unreadable, spools)


async def _spools(ingresses: tuple[str, ...]) -> list[SpoolDepth] | None:
    if not ingresses:
        return None
    with _told("an ingress", "leave out --ingress to go on without it"):
        return await read_spools(ingresses)


@asynccontextmanager
async def _open_run(
    settings: ReconcileSettings, window: Window, ledger: Ledger
) -> AsyncIterator[Reconciliation]:
    async with open_pool(settings.postgres, "reconcile") as pool:
        store = PostgresOutcomes(pool)
        with _told("Postgres", _POSTGRES_HINT):
            await store.check()
        with _told("Kafka", "see that it runs and that KAFKA_BOOTSTRAP names it"):
            async with open_topics(settings.kafka) as topics:
                with _told("Kafka or Postgres", "repeat when both run"):
                    yield Reconciliation(topics, store, ledger, window, SystemClock().unix_ms())


@contextmanager
def _told(what: str, hint: str) -> Iterator[None]:
    """Expected errors become a line that says what to do."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        if classify(error) is Failure.BUG:
            raise
        reason = f"{error}" or type(error).__name__
        # our own say themselves what to do
        told = reason if isinstance(error, FatalError) else f"{what} did not answer ({reason}); {hint}"
        raise UnprovedError(told) from error


def _bar(length: int, label: str) -> AbstractContextManager[Any]:
    """On a terminal only, and never among the lines of the result."""
    return click.progressbar(
        length=length,
        label=label,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        update_min_steps=max(1, length // _BAR_STEPS),
    )


def _unix_ms(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)
