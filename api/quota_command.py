"""`alerts users release-parked`: store what was above the quota."""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

import click

from api.administration import with_pool
from api.quota import ParkedSignals
from runtime.clock import SystemClock
from runtime.postgres import Pool
from runtime.settings import PostgresSettings, load_section


class Caller(Protocol):
    """What the group of the command leaves for it."""

    @property
    def values(self) -> Mapping[str, str]: ...


@click.command(
    "release-parked", epilog="Example: alerts users release-parked 019a0000-0000-7000-8000-00000000000a"
)
@click.argument("user_id", type=click.UUID)
@click.pass_obj
def release_parked(caller: Caller, user_id: UUID) -> None:
    """Store a user's parked signals, the oldest first, while quota remains.

    They count in the present month of the quota. To release more, put the user on a larger plan first.
    """
    settings = load_section(PostgresSettings, caller.values)
    released, waiting = with_pool(settings, lambda pool: _release(pool, user_id))
    click.echo(f"released {released}, still parked {waiting}")


async def _release(pool: Pool, user_id: UUID) -> tuple[int, int]:
    parked = ParkedSignals(pool, SystemClock())
    total = 0
    with click.progressbar(length=await parked.count(user_id), file=click.get_text_stream("stderr")) as bar:
        while released := await parked.release(user_id):
            total += released
            bar.update(released)
    return total, await parked.count(user_id)
