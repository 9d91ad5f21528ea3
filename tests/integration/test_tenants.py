"""The administration of tenants on a real database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from api.keys import Access, ApiKeys, NewApiKey
from api.tenants import Tenants, next_month
from api.users import CreatedUser, NewUser
from runtime.encryption import KeyRing
from runtime.errors import InvalidError
from runtime.postgres import Pool
from runtime.sessions import session_owner
from runtime.sql import load_queries
from runtime.tokens import new_token, token_hash
from schemas.plans import PLAN_TERMS, Plan
from sinks.relay import tenant_of
from tests.support.api import pool_of
from tests.support.clock import FakeClock
from tests.support.tenants import new_user_id

RING = KeyRing({"one": bytes(32)})
CHART = "Ab3dE9xZ"
SESSIONID, SIGN = SecretStr("6f1ed002ab5595859014ebf0951522d9"), SecretStr("v3:c2lnbmF0dXJl+/=")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Office:
    """Where tenants are administered."""

    pool: Pool
    clock: FakeClock
    tenants: Tenants
    keys: ApiKeys

    async def user(self, user_id: UUID) -> asyncpg.Record:
        row = await self.pool.fetchrow("SELECT * FROM users WHERE id = $1", user_id)
        assert row is not None
        return row

    async def config(self, user_id: UUID) -> asyncpg.Record:
        row = await self.pool.fetchrow("SELECT * FROM user_config WHERE user_id = $1", user_id)
        assert row is not None
        return row

    async def revision(self, user_id: UUID) -> int:
        return int((await self.user(user_id))["revision"])

    async def create(self, **changes: Any) -> CreatedUser:
        values = {"name": "ana", "plan": Plan.BASIC, "default_chart_id": CHART, **changes}
        return await self.tenants.create_user(NewUser(**values))


@pytest_asyncio.fixture
async def office(postgres_url: str) -> AsyncIterator[Office]:
    clock = FakeClock()
    async with pool_of(postgres_url) as pool:
        yield Office(pool, clock, Tenants(pool, RING, clock), ApiKeys(pool, clock))


@pytest.fixture
def token() -> SecretStr:
    return new_token()


@pytest.mark.parametrize("plan", list(Plan))
async def test_a_new_user_has_the_terms_of_the_plan(office: Office, plan: Plan) -> None:
    """Quota and mode come from the plan table, the quota is reset at the next month."""
    created = await office.create(plan=plan)
    row, terms = await office.user(created.user_id), PLAN_TERMS[plan]
    assert (row["plan"], row["signals_quota"], row["quota_mode"]) == (
        plan.value,
        terms.signals_per_month,
        terms.quota_mode.value,
    )
    assert row["quota_reset_at"] == datetime(2026, 4, 1, tzinfo=UTC)
    assert (row["webhook_enabled"], row["deleted_at"]) == (True, None)


async def test_a_token_is_kept_as_hash_and_encrypted(office: Office) -> None:
    """It can be looked up and shown again, and is nowhere in the row."""
    created = await office.create()
    row, token = await office.user(created.user_id), created.token.get_secret_value()
    assert row["webhook_token_hash"].hex() == token_hash(token)
    assert token.encode() not in row["webhook_token"]
    assert await office.tenants.webhook_token(created.user_id) == created.token
    other = await office.create()
    with pytest.raises(InvalidError, match="undecryptable"):
        RING.decrypt(row["webhook_token"], f"users.webhook_token/{other.user_id}")


async def test_creating_again_changes_nothing(office: Office, token: SecretStr) -> None:
    """The same user given twice is one row, the same revision, and the same token though none was given."""
    user_id = new_user_id()
    first = await office.create(user_id=user_id, token=token)
    before = await office.user(user_id), await office.config(user_id)
    assert await office.create(user_id=user_id) == first == CreatedUser(user_id, token)
    assert (await office.user(user_id), await office.config(user_id)) == before


@pytest.mark.parametrize(
    "change",
    [
        {"name": "bea"},
        {"plan": Plan.PRO},
        {"default_chart_id": "OTHER123"},
        {"default_chart_id": None},
        {"token": SecretStr("another-token-0123456789abcdef")},
    ],
)
async def test_creating_again_with_other_values_is_a_change(
    office: Office, token: SecretStr, change: dict[str, Any]
) -> None:
    """The user becomes what is asked for, and others get to know."""
    user_id = new_user_id()
    await office.create(user_id=user_id, token=token)
    revision = await office.revision(user_id)
    created = await office.create(user_id=user_id, **change)
    summary = await office.tenants.get_user(user_id)
    shown = {"name": summary.name, "plan": summary.plan, "default_chart_id": summary.default_chart_id}
    assert {**shown, "token": created.token} == {**shown, "token": token, **change}
    assert await office.revision(user_id) > revision


Change = Callable[[Tenants, UUID], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "plan": lambda tenants, user_id: tenants.set_plan(user_id, Plan.PREMIUM),
    "webhook off": lambda tenants, user_id: tenants.set_webhook_enabled(user_id, enabled=False),
    "chart": lambda tenants, user_id: tenants.set_default_chart(user_id, "OTHER123"),
    "no chart": lambda tenants, user_id: tenants.set_default_chart(user_id, None),
    "addresses": lambda tenants, user_id: tenants.set_allowed_addresses(user_id, ["tradingview"]),
    "captures": lambda tenants, user_id: tenants.set_captures(user_id, consented=True),
    "kill switch": lambda tenants, user_id: tenants.stop_captures(user_id, "asked to"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_raises_the_revision_once(office: Office, change: Change) -> None:
    """What the ingress or the processors must learn is a new revision; what is so already is none."""
    user_id = (await office.create()).user_id
    revision = await office.revision(user_id)
    await change(office.tenants, user_id)
    changed = await office.user(user_id), await office.config(user_id)
    assert changed[0]["revision"] == revision + 1
    await change(office.tenants, user_id)
    assert (await office.user(user_id), await office.config(user_id)) == changed


@pytest.mark.parametrize(
    "change",
    [
        *CHANGES.values(),
        lambda tenants, user_id: tenants.set_session(user_id, SESSIONID, SIGN),
        lambda tenants, user_id: tenants.rotate_token(user_id, DAY),
        lambda tenants, user_id: tenants.delete_user(user_id),
        lambda tenants, user_id: tenants.webhook_token(user_id),
        lambda tenants, user_id: tenants.get_user(user_id),
    ],
)
async def test_nothing_can_be_done_with_a_user_who_is_not_there(office: Office, change: Change) -> None:
    """Neither with one who never was, nor with one who has been deleted."""
    deleted = (await office.create()).user_id
    await office.tenants.delete_user(deleted)
    for user_id in (new_user_id(), deleted):
        with pytest.raises(InvalidError, match="unknown_user"):
            await change(office.tenants, user_id)


async def test_what_is_published_is_what_was_set(office: Office, token: SecretStr) -> None:
    """The relay's record of a user shows plan, token, captures, chart and who may send."""
    created = await office.create(token=token)
    await office.tenants.set_captures(created.user_id, consented=True)
    await office.tenants.set_allowed_addresses(created.user_id, ["tradingview", " 203.0.113.0/24 "])
    rows = await office.pool.fetch(load_queries("sinks", "relay.sql")["unpublished_tenants"], 1000)
    (tenant,) = (tenant_of(row) for row in rows if row["id"] == created.user_id)
    assert (tenant.plan, tenant.default_chart_id) == (Plan.BASIC, CHART)
    assert tenant.token_hashes == [token_hash(token.get_secret_value())]
    assert (tenant.webhook_enabled, tenant.captures_enabled, tenant.deleted) == (True, True, False)
    assert tenant.allowed_addresses == ["tradingview", "203.0.113.0/24"]


async def test_a_session_is_encrypted_for_its_row(office: Office) -> None:
    """The stored cookies are not in clear, and decrypt in their own row and column only."""
    user_id = (await office.create()).user_id
    await office.tenants.set_session(user_id, SESSIONID, SIGN)
    row = await office.config(user_id)
    assert SESSIONID.get_secret_value().encode() not in row["tv_sessionid"]
    assert RING.decrypt(row["tv_sessionid"], session_owner("tv_sessionid", user_id)) == SESSIONID
    assert RING.decrypt(row["tv_sessionid_sign"], session_owner("tv_sessionid_sign", user_id)) == SIGN
    with pytest.raises(InvalidError):
        RING.decrypt(row["tv_sessionid"], session_owner("tv_sessionid_sign", user_id))
    assert (row["session_version"], row["tv_cookies_valid"]) == (1, True)


async def test_only_a_new_session_is_a_new_version(office: Office) -> None:
    """The same cookies again change nothing, unless they had been found invalid."""
    user_id = (await office.create()).user_id
    await office.tenants.set_session(user_id, SESSIONID, SIGN)
    before = await office.config(user_id)
    await office.tenants.set_session(user_id, SESSIONID, SIGN)
    assert await office.config(user_id) == before
    await office.pool.execute("UPDATE user_config SET tv_cookies_valid = false")
    await office.tenants.set_session(user_id, SESSIONID, SIGN)
    await office.tenants.set_session(user_id, SESSIONID, SecretStr("another"))
    row = await office.config(user_id)
    assert (row["session_version"], row["tv_cookies_valid"]) == (3, True)


async def test_a_session_whose_key_is_gone_is_replaced(office: Office) -> None:
    """Cookies that nobody can decrypt any more do not stand in the way of new ones."""
    user_id = (await office.create()).user_id
    await office.tenants.set_session(user_id, SESSIONID, SIGN)
    ring = KeyRing({"two": bytes(range(32))})
    await Tenants(office.pool, ring, office.clock).set_session(user_id, SESSIONID, SIGN)
    row = await office.config(user_id)
    assert ring.decrypt(row["tv_sessionid"], session_owner("tv_sessionid", user_id)) == SESSIONID


async def test_sessions_set_at_once_are_counted_all(office: Office) -> None:
    """Changes of one user happen one after the other; none is lost."""
    user_id = (await office.create()).user_id
    sessions = [SecretStr(f"session-{number}") for number in range(5)]
    await asyncio.gather(*(office.tenants.set_session(user_id, session, SIGN) for session in sessions))
    assert (await office.config(user_id))["session_version"] == 5


async def test_consent_is_dated_and_can_be_withdrawn(office: Office) -> None:
    """The first consent counts; the kill switch keeps it and consent releases the switch."""
    user_id = (await office.create()).user_id
    assert (await office.tenants.get_user(user_id)).captures == "off"
    await office.tenants.set_captures(user_id, consented=True)
    consented_at = (await office.config(user_id))["captures_consented_at"]
    await office.tenants.stop_captures(user_id, "asked to")
    assert (await office.tenants.get_user(user_id)).captures == "stopped"
    office.clock.move(60)
    await office.tenants.set_captures(user_id, consented=True)
    row = await office.config(user_id)
    assert (row["captures_consented_at"], row["captures_stopped"]) == (consented_at, False)
    assert row["captures_stopped_reason"] is None
    await office.tenants.set_captures(user_id, consented=False)
    assert (await office.config(user_id))["captures_consented_at"] is None


async def test_a_rotated_token_works_for_its_grace_time(office: Office, token: SecretStr) -> None:
    """Old and new token are both known until then."""
    created = await office.create(token=token)
    new = await office.tenants.rotate_token(created.user_id, DAY)
    row = await office.user(created.user_id)
    assert row["webhook_token_hash"].hex() == token_hash(new.get_secret_value())
    assert row["previous_token_hash"].hex() == token_hash(token.get_secret_value())
    assert row["previous_token_until"] == datetime(2026, 3, 15, 9, 26, 53, 125_000, tzinfo=UTC)
    assert await office.tenants.webhook_token(created.user_id) == new


async def test_a_second_rotation_does_not_cut_the_grace_time_short(office: Office, token: SecretStr) -> None:
    """It is refused until the older token has ended, unless the token has leaked and all must end now."""
    created = await office.create(token=token)
    await office.tenants.rotate_token(created.user_id, DAY)
    before = await office.user(created.user_id)
    with pytest.raises(InvalidError, match="rotation_in_progress"):
        await office.tenants.rotate_token(created.user_id, DAY)
    assert await office.user(created.user_id) == before
    await office.tenants.rotate_token(created.user_id, timedelta())
    row = await office.user(created.user_id)
    assert (row["previous_token_hash"], row["previous_token_until"]) == (None, None)
    await office.tenants.rotate_token(created.user_id, DAY)
    office.clock.move(DAY.total_seconds())
    await office.tenants.rotate_token(created.user_id, DAY)
    assert await office.revision(created.user_id) == before["revision"] + 3


async def test_a_deleted_user_leaves_no_secret_and_no_access(office: Office) -> None:
    """Keys stop working, cookies are erased, the webhook is off, and the row remains for the signals."""
    user_id = (await office.create()).user_id
    await office.tenants.set_session(user_id, SESSIONID, SIGN)
    await office.tenants.rotate_token(user_id, DAY)
    key = await office.keys.create_api_key(NewApiKey("ana", user_id))
    revision = await office.revision(user_id)
    await office.tenants.delete_user(user_id)
    row, config = await office.user(user_id), await office.config(user_id)
    assert (row["webhook_enabled"], row["previous_token_hash"], row["revision"]) == (
        False,
        None,
        revision + 1,
    )
    assert row["deleted_at"] is not None
    assert (config["tv_sessionid"], config["tv_cookies_valid"]) == (None, False)
    assert await office.keys.access(key.get_secret_value()) is None
    assert not [user for user in await office.tenants.list_users() if user.user_id == user_id]


async def test_a_deleted_user_can_be_created_again(office: Office) -> None:
    """With the id of a deleted one the user is back, without the old session and consent."""
    created = await office.create()
    await office.tenants.set_captures(created.user_id, consented=True)
    await office.tenants.delete_user(created.user_id)
    revision = await office.revision(created.user_id)
    assert await office.create(user_id=created.user_id) == created
    summary = await office.tenants.get_user(created.user_id)
    assert (summary.webhook_enabled, summary.captures, summary.session_valid) == (True, "off", False)
    assert await office.revision(created.user_id) > revision


async def test_users_are_listed_oldest_first_without_secrets(office: Office) -> None:
    """A list of all, each as it is shown alone."""
    users = [await office.create(name=name) for name in ("ana", "bea")]
    ids = {user.user_id for user in users}
    listed = [summary for summary in await office.tenants.list_users() if summary.user_id in ids]
    assert [summary.name for summary in listed] == ["ana", "bea"]
    assert listed == [await office.tenants.get_user(user.user_id) for user in users]
    assert not [user for user in users if user.token.get_secret_value() in repr(listed)]


async def test_a_key_opens_its_scope(office: Office) -> None:
    """All tenants or one; only the hash is stored; a wrong one opens nothing."""
    user_id = (await office.create()).user_id
    platform = await office.keys.create_api_key(NewApiKey("platform"))
    own = await office.keys.create_api_key(NewApiKey("ana", user_id))
    assert await office.keys.access(platform.get_secret_value()) == Access(None)
    assert await office.keys.access(own.get_secret_value()) == Access(user_id)
    assert await office.keys.access(own.get_secret_value() + "x") is None
    stored = str(await office.pool.fetch("SELECT *, encode(key_hash, 'escape') FROM api_keys"))
    assert not [key for key in (platform, own) if key.get_secret_value() in stored]


async def test_a_revoked_key_opens_nothing_until_it_is_given_again(office: Office) -> None:
    """Revocation works from the next question on; creating the same key ends it and keeps its id."""
    key = SecretStr("tvk_" + "k" * 32)
    ids = set()
    for _round in range(2):
        await office.keys.create_api_key(NewApiKey("laptop", key=key))
        (summary,) = (item for item in await office.keys.list_api_keys() if item.label == "laptop")
        assert summary.revoked_at is None
        await office.keys.revoke_api_key(summary.key_id)
        assert await office.keys.access(key.get_secret_value()) is None
        ids.add(summary.key_id)
    assert len(ids) == 1
    with pytest.raises(InvalidError, match="unknown_key"):
        await office.keys.revoke_api_key(new_user_id())


@pytest.mark.parametrize("key", ["", "tvk_short", "k" * 40, "tvk_" + "ñ" * 32])
async def test_a_weak_key_is_not_accepted(office: Office, key: str) -> None:
    """What the API would refuse unseen cannot be created, and is not repeated in the error."""
    with pytest.raises(InvalidError, match="invalid_key") as refused:
        await office.keys.create_api_key(NewApiKey("weak", key=SecretStr(key)))
    assert key == "" or key not in str(refused.value)


async def test_a_key_needs_a_user_who_is_there(office: Office) -> None:
    """There is no key for somebody unknown or deleted."""
    deleted = (await office.create()).user_id
    await office.tenants.delete_user(deleted)
    for user_id in (new_user_id(), deleted):
        with pytest.raises(InvalidError, match="unknown_user"):
            await office.keys.create_api_key(NewApiKey("nobody", user_id))


@pytest.mark.parametrize("day", [1, 28, 31])
def test_the_next_month_begins_at_its_first_moment(day: int) -> None:
    """Whatever the day; after December comes January."""
    assert next_month(datetime(2026, 1, day, 23, 59, tzinfo=UTC)) == datetime(2026, 2, 1, tzinfo=UTC)
    assert next_month(datetime(2026, 12, day, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
