"""A database with two tenants, and a login for each of its roles."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from api.database import read_visible_rows, reading
from api.keys import Access
from deploy.local.keychain import Keychain
from deploy.local.logins import Login, embedded_logins, ensure_logins
from runtime.clock import SystemClock, utc_now
from runtime.encryption import KeyRing
from runtime.postgres import Pool
from runtime.sessions import session_owner
from schemas.records import CaptureEventKind, Picture, Signal
from sinks.capture_store import CaptureStore
from sinks.store import SignalStore
from tests.support.api import new_signal, pool_of
from tests.support.signals import accepted_signal, new_event
from tests.support.tenants import insert_tenant, new_customer

KEYRING: Final = KeyRing({"k1": b"k" * 32})
PASSWORD: Final = SecretStr("password of the tests")
READERS: Final = ("alerts_reader", "alerts_platform_reader")
TABLES: Final = {
    "users": "id",
    "user_config": "user_id",
    "user_usage": "user_id",
    "signals": "user_id",
    "screenshots": "user_id",
    "audit_logs": "user_id",
    "signal_screenshots": "(SELECT user_id FROM signals WHERE id = signal_id)",
}
"""The tables with rows of tenants, and what tells whose a row is."""

LOGINS: Final[Mapping[str, Login]] = {
    **embedded_logins(Keychain()),
    **{role: Login(f"{role}_test", role, PASSWORD) for role in READERS},
}


@dataclass(frozen=True)
class Scene:
    """A database with two tenants, who have a row in every table, and a login for each role."""

    owner: Pool
    url: str
    ana: UUID
    bob: UUID

    @asynccontextmanager
    async def login(self, name: str) -> AsyncIterator[Pool]:
        async with pool_of(LOGINS[name].url(self.url)) as pool:
            yield pool


@asynccontextmanager
async def open_scene(url: str) -> AsyncIterator[Scene]:
    """In a migrated database."""
    await ensure_logins(url, LOGINS.values())
    async with pool_of(url) as pool:
        ana, bob = [await furnished_tenant(pool) for _tenant in range(2)]
        yield Scene(pool, url, ana, bob)


async def furnished_tenant(pool: Pool) -> UUID:
    """A tenant with a valid session, a signal, its audit row and its picture, and a usage row."""
    customer = new_customer()
    user_id = customer.tenant.user_id
    await insert_tenant(pool, customer)
    sealed = [
        KEYRING.encrypt(SecretStr("cookie"), session_owner(column, user_id))
        for column in ("tv_sessionid", "tv_sessionid_sign")
    ]
    await pool.execute(
        "UPDATE user_config SET tv_sessionid = $2, tv_sessionid_sign = $3, tv_cookies_valid = true"
        " WHERE user_id = $1",
        user_id,
        *sealed,
    )
    await pool.execute(
        "INSERT INTO user_usage (user_id, period) VALUES ($1, '2000-01-01') ON CONFLICT DO NOTHING", user_id
    )
    signal = new_signal(user_id)
    await store(pool, signal)
    await CaptureStore(pool).apply(
        [new_event(signal, CaptureEventKind.COMPLETED, picture=picture_of(signal))]
    )
    return user_id


def picture_of(signal: Signal) -> Picture:
    key = f"ab/{secrets.token_urlsafe(16)}.png"
    return Picture(key=key, size_bytes=1, width_px=1, height_px=1, captured_at=signal.received_at)


async def store(pool: Pool, *signals: Signal) -> None:
    """Put signals where the sink puts them."""
    await SignalStore(pool).insert([accepted_signal(signal) for signal in signals], utc_now(SystemClock()))


async def rows_of(pool: Pool, query: str, *values: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await pool.fetch(query, *values)]


async def visible_rows(pool: Pool, access: Access, query: str, *values: object) -> Sequence[Any]:
    """What the API reads for the holder of a key."""
    async with reading(pool) as connection:
        return await read_visible_rows(connection, access.opening, query, *values)
