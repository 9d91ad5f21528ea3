"""`alerts pictures`: what is kept of the pictures, and what goes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

import click
import orjson

from api.administration import with_pool
from api.picture_removal import PictureRemoval, open_eraser
from runtime.clock import SystemClock, utc_now
from runtime.environment import Environment
from runtime.examples import example
from runtime.picture_files import PictureFiles
from runtime.pictures import lifecycle_rules
from runtime.postgres import Pool
from runtime.settings import PostgresSettings, StorageSettings, load_section

_MEBIBYTE: Final = 1024 * 1024

T = TypeVar("T")


@click.group("pictures", epilog=example("pictures retain --dry-run"))
def command() -> None:
    """Delete pictures: a user's, or those that no plan keeps any longer."""


@command.command(
    epilog="Example: alerts pictures delete --user 019a0000-0000-7000-8000-00000000000a --dry-run"
)
@click.option("--user", "user_id", type=click.UUID, required=True, help="whose pictures")
@click.option("--dry-run", is_flag=True, help="only say how many there are")
@click.option("--yes", is_flag=True, help="do not ask")
@click.pass_obj
def delete(environment: Environment, user_id: UUID, *, dry_run: bool, yes: bool) -> None:
    """Delete all pictures of a user for good, in the store and in the database; signals stay.

    Their links end at once. Stop the user's captures first (`alerts users captures ID --stop`): a picture
    that is taken meanwhile may stay. Interrupted, or when the store was away, it is safe to repeat.
    """
    stored = _run(environment, lambda removal: removal.count(user_id))
    if dry_run or not stored.count:
        click.echo(f"{stored.count} pictures, {stored.size_bytes / _MEBIBYTE:.1f} MiB")
        return
    if not yes:
        click.confirm(f"Delete {stored.count} pictures?", abort=True)
    removed = _run(environment, lambda removal: _delete(removal, user_id, stored.count))
    click.echo(f"deleted {removed} pictures")


@command.command(epilog="Example: alerts pictures retain --dry-run")
@click.option("--dry-run", is_flag=True, help="only say how many are due")
@click.pass_obj
def retain(environment: Environment, *, dry_run: bool) -> None:
    """Delete the files that their plan keeps no longer; `alerts capture` does it by itself every 6 hours.

    Only for pictures in STORAGE_DIRECTORY: a bucket does it by its rules, see `alerts pictures lifecycle`.
    """
    settings = load_section(StorageSettings, environment.values)
    if settings.directory is None or settings.s3_bucket is not None:
        raise click.ClickException(
            "pictures are in a bucket: give it the rules of `alerts pictures lifecycle`"
        )
    files, now = PictureFiles(settings.directory), utc_now(SystemClock())
    if dry_run:
        click.echo(f"{len(asyncio.run(files.due(now)))} files are due")
    else:
        click.echo(f"deleted {asyncio.run(files.expire(now))} files")


@command.command(epilog="Example: alerts pictures lifecycle > rules.json")
@click.pass_obj
def lifecycle(environment: Environment) -> None:
    """Print the rules that the bucket needs, as JSON: each plan's pictures expire after its days."""
    settings = load_section(StorageSettings, environment.values)
    rules = {"Rules": list(lifecycle_rules(settings.s3_prefix))}
    click.echo(orjson.dumps(rules, option=orjson.OPT_INDENT_2).decode())


def _run(environment: Environment, work: Callable[[PictureRemoval], Awaitable[T]]) -> T:
    storage = load_section(StorageSettings, environment.values)

    async def run(pool: Pool) -> T:
        async with open_eraser(storage) as eraser:
            return await work(PictureRemoval(pool, eraser))

    return with_pool(load_section(PostgresSettings, environment.values), run)


async def _delete(removal: PictureRemoval, user_id: UUID, count: int) -> int:
    total = 0
    with click.progressbar(length=count, label="deleting", file=click.get_text_stream("stderr")) as bar:
        while removed := await removal.remove(user_id):
            total += removed
            bar.update(removed)
    return total
