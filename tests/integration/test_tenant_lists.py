"""Lists of addresses in the database: what is stored, and what the database itself refuses."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from api.tenants import Tenants
from api.users import NewUser
from runtime.addresses import MAX_ENTRIES
from runtime.clock import SystemClock
from runtime.encryption import KeyRing
from runtime.errors import InvalidError
from runtime.postgres import Pool
from schemas.plans import Plan
from tests.support.api import pool_of

LONG = [f"2001:0db8:0000:0000:0000:0000:0000:{number:04x}/128" for number in range(MAX_ENTRIES)]


@dataclass(frozen=True)
class Listed:
    """A user who has a list."""

    pool: Pool
    tenants: Tenants
    user_id: UUID

    async def entries(self) -> tuple[str, ...]:
        return (await self.tenants.get_user(self.user_id)).allowed_addresses

    async def row(self) -> asyncpg.Record:
        row = await self.pool.fetchrow("SELECT * FROM users WHERE id = $1", self.user_id)
        assert row is not None
        return row


@pytest_asyncio.fixture
async def listed(postgres_url: str) -> AsyncIterator[Listed]:
    async with pool_of(postgres_url) as pool:
        tenants = Tenants(pool, KeyRing({"one": bytes(32)}), SystemClock())
        user = await tenants.create_user(NewUser("ana", Plan.BASIC))
        await tenants.set_allowed_addresses(user.user_id, ["tradingview"])
        yield Listed(pool, tenants, user.user_id)


async def test_a_list_stays_until_another_is_set(listed: Listed) -> None:
    """Whoever sets up a user again must not open the webhook to everybody by that."""
    await listed.tenants.delete_user(listed.user_id)
    await listed.tenants.create_user(NewUser("ana", Plan.PRO, user_id=listed.user_id))
    assert await listed.entries() == ("tradingview",)
    await listed.tenants.set_allowed_addresses(listed.user_id, [])
    assert await listed.entries() == ()


async def test_entries_are_stored_without_their_blanks(listed: Listed) -> None:
    """So that the same list is the same again."""
    await listed.tenants.set_allowed_addresses(listed.user_id, [" 203.0.113.7 ", "::1"])
    before = await listed.row()
    await listed.tenants.set_allowed_addresses(listed.user_id, ["203.0.113.7", "::1\n"])
    assert (await listed.row(), await listed.entries()) == (before, ("203.0.113.7", "::1"))


async def test_the_longest_list_can_be_stored(listed: Listed) -> None:
    """The database's limits have room for whatever is a list."""
    await listed.tenants.set_allowed_addresses(listed.user_id, LONG)
    assert await listed.entries() == tuple(LONG)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (["::1", "203.0.113.7/24"], "invalid_address: .*'203.0.113.7/24'"),
        ([*LONG, "::1"], "too_many_addresses"),
    ],
    ids=["a bad entry", "too many"],
)
async def test_what_is_no_list_is_not_stored(listed: Listed, entries: list[str], reason: str) -> None:
    """The ingress could only answer 503 to a tenant with such a list."""
    before = await listed.row()
    with pytest.raises(InvalidError, match=reason):
        await listed.tenants.set_allowed_addresses(listed.user_id, entries)
    assert await listed.row() == before


@pytest.mark.parametrize(
    "array",
    ["array_fill('::1'::text, '{101}')", "'{::1,NULL}'", "'{{::1}}'", "ARRAY[repeat('x', 8193)]", "NULL"],
    ids=["too many", "a hole", "nested", "too long", "none"],
)
async def test_the_database_takes_no_list_that_could_not_be_published(listed: Listed, array: str) -> None:
    """Whoever writes past this code must not stop the relay, or hide the tenant from its readers."""
    with pytest.raises(asyncpg.PostgresError):
        await listed.pool.execute(f"UPDATE users SET allowed_addresses = {array}")  # noqa: S608 - literals
    assert await listed.entries() == ("tradingview",)
