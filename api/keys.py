"""API keys: rows that say what their holder may see.

    keys = ApiKeys(pool, clock)
    key = await keys.create_api_key(NewApiKey(label="laptop"))                      # platform: all tenants
    key = await keys.create_api_key(NewApiKey(label="ana", user_id=…, key=known))   # one tenant, a given key

Also `revoke_api_key list_api_keys access`.
Errors: `InvalidError` (`unknown_user unknown_key invalid_key`), else asyncpg's and `TimeoutError`.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from api.database import READ_DEADLINE_S, read_rows, reading, transaction
from runtime.clock import Clock, utc_now
from runtime.errors import InvalidError
from runtime.ids import SignalIds
from runtime.postgres import Connection, Pool
from runtime.sql import load_queries
from runtime.tokens import RandomText, new_api_key, token_hash

_QUERIES: Final = load_queries("api", "keys.sql")
_KEY: Final = re.compile(r"tvk_[A-Za-z0-9_-]{27,128}")


class Scope(StrEnum):
    PLATFORM = "platform"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Access:
    """What the holder of a key may see: one tenant, or all when `user_id` is None."""

    user_id: UUID | None

    def covers(self, user_id: UUID) -> bool:
        return self.user_id is None or self.user_id == user_id

    @property
    def opening(self) -> str:
        """Begins a transaction in which Postgres shows no more than this."""
        if self.user_id is None:
            return _QUERIES["open_for_platform"]
        # a statement in several parts takes no parameters; a UUID has nothing to escape
        return _QUERIES["open_for_user"].format(user_id=UUID(int=self.user_id.int))


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """Scope `user` with a user, else `platform`. Without a key one is made up."""

    label: str
    user_id: UUID | None = None
    key: SecretStr | None = None

    @property
    def scope(self) -> Scope:
        return Scope.PLATFORM if self.user_id is None else Scope.USER


@dataclass(frozen=True, slots=True)
class ApiKeySummary:
    key_id: UUID
    scope: Scope
    user_id: UUID | None
    label: str
    created_at: datetime
    revoked_at: datetime | None


class ApiKeys:
    """Only the SHA-256 of a key is stored: a key that was not noted down is lost."""

    def __init__(self, pool: Pool, clock: Clock, random_text: RandomText = secrets.token_urlsafe) -> None:
        self._pool = pool
        self._clock = clock
        self._random_text = random_text
        self._ids = SignalIds(clock)

    async def create_api_key(self, new: NewApiKey) -> SecretStr:
        """Create the key, or give a known one this scope and label and end its revocation."""
        key = new_api_key(self._random_text) if new.key is None else new.key
        hashed = key_hash(key.get_secret_value())
        if hashed is None:
            raise InvalidError("invalid_key", "tvk_ and 27 or more characters of the URL-safe alphabet")
        values = (self._ids.mint(), hashed, new.scope.value, new.user_id, new.label)
        async with transaction(self._pool) as connection:
            if new.user_id is not None and not await connection.fetchval(_QUERIES["known_user"], new.user_id):
                raise InvalidError("unknown_user", str(new.user_id))
            await connection.execute(_QUERIES["put_key"], *values)
        return key

    async def revoke_api_key(self, key_id: UUID) -> None:
        """Works from the next request on."""
        async with transaction(self._pool) as connection:
            status = await connection.execute(_QUERIES["revoke_key"], key_id, utc_now(self._clock))
        if status == "UPDATE 0":
            raise InvalidError("unknown_key", str(key_id))

    async def list_api_keys(self) -> list[ApiKeySummary]:
        """All keys, oldest first, revoked ones too."""
        return [_summary(row) for row in await read_rows(self._pool, _QUERIES["list_keys"])]

    async def access(self, key: str) -> Access | None:
        """What the key's holder may see; None for a wrong or revoked one. Asks the database each time."""
        hashed = key_hash(key)
        if hashed is None:
            return None
        async with reading(self._pool) as connection:
            return await find_access(connection, hashed)


async def find_access(connection: Connection, hashed: bytes) -> Access | None:
    """As `ApiKeys.access`, by the hash and on a connection that goes on to read."""
    row = await connection.fetchrow(_QUERIES["find_key"], hashed, timeout=READ_DEADLINE_S)
    return Access(row["user_id"]) if row else None


def key_hash(key: str) -> bytes | None:
    """What a key is looked up by; None for what cannot be a key."""
    return bytes.fromhex(token_hash(key)) if _KEY.fullmatch(key) else None


def _summary(row: Any) -> ApiKeySummary:
    return ApiKeySummary(
        row["id"], Scope(row["scope"]), row["user_id"], row["label"], row["created_at"], row["revoked_at"]
    )
