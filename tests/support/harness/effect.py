"""The work of both flavours: rows in Postgres, and a line on standard output for each step."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from runtime.errors import InvalidError, TransientError
from runtime.postgres import Pool
from runtime.sql import load_queries
from tests.support.harness.spec import Event

QUERIES: Final = load_queries("tests.support.harness", "effects.sql")

GATE_POLL_S: Final = 0.2

_DECODER: Final = msgspec.json.Decoder(Event)


def say(line: str) -> None:
    """Tell the test, which waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Effect:
    """Idempotent, and durable when `apply` returns. A batch is one transaction."""

    def __init__(self, pool: Pool, worker: str) -> None:
        self._pool = pool
        self._worker = worker
        self._failed_once: set[str] = set()

    async def apply(self, values: Sequence[bytes]) -> None:
        events = [_DECODER.decode(value) for value in values]
        ids = [event.id for event in events]
        for event in events:
            await self._begin(event)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(QUERIES["insert_effects"], ids, self._worker)
            await connection.execute(QUERIES["insert_deliveries"], ids, self._worker, "done")
        for event_id in ids:
            say(f"done {event_id}")

    async def _begin(self, event: Event) -> None:
        say(f"began {event.id}")
        try:
            await self._pool.execute(QUERIES["insert_deliveries"], [event.id], self._worker, "began")
            await asyncio.sleep(event.sleep_s)
            while event.held and not await self._pool.fetchval(QUERIES["gate_is_open"]):  # noqa: ASYNC110 - set elsewhere
                await asyncio.sleep(GATE_POLL_S)
            self._fail(event)
        except asyncio.CancelledError:
            say(f"cancelled {event.id}")
            raise
        except Exception:
            say(f"failed {event.id}")
            raise

    def _fail(self, event: Event) -> None:
        if event.fail == "invalid":
            raise InvalidError("unfit")
        if event.fail == "always" or (event.fail and event.id not in self._failed_once):
            self._failed_once.add(event.id)
            raise TransientError("busy") if event.fail == "transient" else RuntimeError("told to fail")
