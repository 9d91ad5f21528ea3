"""Moves what is encrypted from the older keys to the first one, while everything runs.

    rotation = KeyRotation(pool, keyring)
    counted = await rotation.count_by_key()
    async for progress in rotation.run():
        ...

The rows themselves tell how far it has come: after an interruption the next run does the rest. One value is
changed at a time, and only if it still is what was read, so nobody waits and who renews a session or a token
meanwhile wins.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from api.database import read_rows
from api.tenants import token_owner
from runtime.encryption import KeyRing
from runtime.errors import InvalidError
from runtime.postgres import Pool
from runtime.sessions import session_owner
from runtime.sql import load_queries

BATCH: Final = 200

OWNERS: Final[Mapping[str, Callable[[UUID], str]]] = MappingProxyType(
    {
        "webhook_token": token_owner,
        "tv_sessionid": partial(session_owner, "tv_sessionid"),
        "tv_sessionid_sign": partial(session_owner, "tv_sessionid_sign"),
    }
)
"""The encrypted columns, and what their values are bound to."""

_QUERIES: Final = load_queries("api", "rotation.sql")
_WRITE_DEADLINE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that no key of the ring decrypts. `reason` as of `KeyRing.decrypt`."""

    user_id: UUID
    secret: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one batch. `seen` values were outdated; those `moved` are not any more."""

    seen: int
    moved: int
    unreadable: Sequence[Unreadable]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many values one key has encrypted. `key_id` None: those that are not encrypted at all."""

    key_id: str | None
    secrets: int


class KeyRotation:
    """Errors are asyncpg's and `TimeoutError`; what was moved before stays moved."""

    def __init__(self, pool: Pool, keyring: KeyRing) -> None:
        self._pool = pool
        self._keyring = keyring

    async def count_by_key(self) -> list[KeyUse]:
        """By key id; those not encrypted come last."""
        rows = await read_rows(self._pool, _QUERIES["count_by_key"])
        return [KeyUse(_text(row["key_id"]), row["secrets"]) for row in rows]

    async def run(self, *, dry: bool = False) -> AsyncGenerator[Progress, None]:
        """Move all that is outdated, oldest user first. Dry: only try to decrypt it."""
        place: tuple[UUID, str] = (UUID(int=0), "")
        while rows := await read_rows(self._pool, _QUERIES["outdated"], self._keyring.header, *place, BATCH):
            yield await self._move(rows, dry=dry)
            place = rows[-1]["user_id"], rows[-1]["secret"]

    async def _move(self, rows: Sequence[Any], *, dry: bool) -> Progress:
        moved, unreadable = 0, []
        for row in rows:
            user_id, secret = row["user_id"], row["secret"]
            try:
                renewed = self._renewed(row["blob"], OWNERS[secret](user_id))
            except InvalidError as error:
                unreadable.append(Unreadable(user_id, secret, error.reason))
                continue
            if not dry:
                moved += await self._replace(secret, user_id, row["blob"], renewed)
        return Progress(len(rows), moved, unreadable)

    def _renewed(self, blob: bytes, owner: str) -> bytes:
        return self._keyring.encrypt(self._keyring.decrypt(blob, owner), owner)

    async def _replace(self, secret: str, *values: object) -> int:
        query = _QUERIES[f"replace_{secret}"]
        async with self._pool.acquire(timeout=_WRITE_DEADLINE_S) as connection:
            status = await connection.execute(query, *values, timeout=_WRITE_DEADLINE_S)
        return int(status == "UPDATE 1")


def _text(key_id: bytes | None) -> str | None:
    return None if key_id is None else key_id.decode("ascii", "replace")
