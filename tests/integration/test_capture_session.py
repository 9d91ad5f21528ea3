"""Sessions as the database holds them: who may be captured, and with which cookies."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from pydantic import SecretStr

from capture.outcomes import CaptureRefusedError
from capture.session import SessionStore
from runtime.encryption import KeyRing
from runtime.postgres import Pool, open_pool
from runtime.sessions import session_owner
from runtime.settings import PostgresSettings
from tests.support.tenants import insert_tenant, new_customer, new_user_id

KEYRING = KeyRing({"k1": b"k" * 32})


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": postgres_url}), "test") as opened:
        yield opened


async def tenant_with_session(pool: Pool) -> UUID:
    """A user who agrees to captures, with a valid session of version 3."""
    customer = new_customer()
    await insert_tenant(pool, customer)
    user_id = customer.tenant.user_id
    sealed = [
        KEYRING.encrypt(SecretStr(value), session_owner(column, user_id))
        for column, value in (("tv_sessionid", "the id"), ("tv_sessionid_sign", "the sign"))
    ]
    await pool.execute(
        "UPDATE user_config SET tv_sessionid = $2, tv_sessionid_sign = $3, session_version = 3,"
        " tv_cookies_valid = true WHERE user_id = $1",
        user_id,
        *sealed,
    )
    return user_id


async def refusal(store: SessionStore, user_id: UUID) -> str:
    with pytest.raises(CaptureRefusedError) as error:
        await store.read(user_id)
    return error.value.outcome.value


async def test_the_cookies_are_decrypted(pool: Pool) -> None:
    """With the version that events carry; nothing of them shows in a repr."""
    session = await SessionStore(pool, KEYRING).read(await tenant_with_session(pool))
    values = (session.sessionid.get_secret_value(), session.sessionid_sign.get_secret_value())
    assert (values, session.version) == (("the id", "the sign"), 3)
    assert "the id" not in repr(session)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("captures_consented_at = NULL", "not_consented"),
        ("captures_stopped = true", "captures_stopped"),
        ("tv_cookies_valid = false", "session_expired"),
        ("tv_sessionid = NULL, tv_sessionid_sign = NULL", "session_missing"),
        ("tv_sessionid = tv_sessionid_sign", "session_unreadable"),  # of another column
        ("tv_sessionid = '\\x00'", "session_unreadable"),
    ],
)
async def test_without_leave_or_session_there_is_none(pool: Pool, change: str, reason: str) -> None:
    """Consent, kill switch and validity are asked each time; the reason is what the user is told."""
    store = SessionStore(pool, KEYRING)
    user_id = await tenant_with_session(pool)
    await store.read(user_id)
    await pool.execute(f"UPDATE user_config SET {change} WHERE user_id = $1", user_id)  # noqa: S608 - the table above
    assert await refusal(store, user_id) == reason


async def test_who_does_not_exist_has_no_session(pool: Pool) -> None:
    """Nor has a deleted user."""
    store = SessionStore(pool, KEYRING)
    assert await refusal(store, new_user_id()) == "session_missing"
    user_id = await tenant_with_session(pool)
    await pool.execute("UPDATE users SET deleted_at = now() WHERE id = $1", user_id)
    assert await refusal(store, user_id) == "session_missing"


async def test_a_refused_version_is_not_given_out_again(pool: Pool) -> None:
    """Also while the row does not say so yet; a renewed one is."""
    store = SessionStore(pool, KEYRING)
    user_id = await tenant_with_session(pool)
    store.expired(user_id, 3)
    assert await refusal(store, user_id) == "session_expired"
    await pool.execute("UPDATE user_config SET session_version = 4 WHERE user_id = $1", user_id)
    assert (await store.read(user_id)).version == 4
