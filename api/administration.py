"""What the administration commands share: a pool for one call, and tables for people."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import asyncpg
import click

from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings

ADVICE: Final = (
    (asyncpg.UndefinedTableError, "the database is older than this program: run `alerts migrate` first"),
    (asyncpg.UndefinedColumnError, "the database is older than this program: run `alerts migrate` first"),
    (asyncpg.InsufficientPrivilegeError, "set DATABASE_URL to the database as the owner of its tables"),
    (asyncpg.InvalidAuthorizationSpecificationError, "check user and password in DATABASE_URL"),
    (asyncpg.InvalidCatalogNameError, "check the name of the database in DATABASE_URL"),
    (TimeoutError, "the database does not answer, or others keep a row locked; try again later"),
    (OSError, "is the database of DATABASE_URL running? `make run` starts one"),
)
"""What to do about an error of the database; the first that fits."""

T = TypeVar("T")


def with_pool(settings: PostgresSettings, work: Callable[[Pool], Awaitable[T]]) -> T:
    """Run to the end in an event loop of its own.

    Raises what the work raises, but for what the operator can cure: that is a `ClickException` with advice.
    """

    async def run() -> T:
        async with open_pool(settings, "administration") as pool:
            return await work(pool)

    try:
        return asyncio.run(run())
    except tuple(kind for kind, _advice in ADVICE) as error:
        raise click.ClickException(_advice(error)) from error


def _advice(error: BaseException) -> str:
    advice = next(advice for kind, advice in ADVICE if isinstance(error, kind))
    text = str(error).splitlines()
    return f"{text[0] if text else type(error).__name__}; {advice}"


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their longest cell."""
    texts = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
