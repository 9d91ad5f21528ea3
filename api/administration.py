"""What the administration commands share: a pool for one call, and tables for people."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import click

from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings

T = TypeVar("T")


def with_pool(settings: PostgresSettings, work: Callable[[Pool], Awaitable[T]]) -> T:
    """Run to the end in an event loop of its own. Raises what the work raises."""

    async def run() -> T:
        async with open_pool(settings, "administration") as pool:
            return await work(pool)

    return asyncio.run(run())


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their longest cell."""
    texts = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
