"""The demo tenant in a real database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from api.keys import Access, ApiKeys
from deploy.local.chart.sessions import read
from deploy.local.demo import Demo, ensure_demo
from deploy.local.keychain import Keychain
from runtime.clock import SystemClock
from runtime.encryption import KeyRing, parse_keys
from runtime.postgres import Pool, open_pool
from runtime.sessions import session_owner
from runtime.settings import PostgresSettings, load_section
from runtime.tokens import token_hash

KEYCHAIN = Keychain()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(load_section(PostgresSettings, {"DATABASE_URL": database_url}), "test") as pool:
        yield pool


async def make(url: str, *, look_alike: bool = True) -> Demo:
    variables = {"DATABASE_URL": url, "ENCRYPTION_KEYS": KEYCHAIN.encryption_keys.get_secret_value()}
    return await ensure_demo(KEYCHAIN, variables, SystemClock(), look_alike=look_alike)


async def only_row(pool: Pool, query: str) -> asyncpg.Record:
    (row,) = await pool.fetch(query)
    return row


async def test_the_demo_tenant_has_everything_but_signals(database_url: str, pool: Pool) -> None:
    """Plan premium, no quota, a chart, opted in to captures, and the token of the banner."""
    demo = await make(database_url)
    user = await only_row(pool, "SELECT * FROM users")
    assert user["id"] == demo.user_id
    assert user["plan"] == "premium"
    assert user["quota_mode"] == "off"
    assert user["webhook_token_hash"].hex() == token_hash(demo.webhook_token.get_secret_value())
    config = await only_row(pool, "SELECT * FROM user_config")
    assert config["default_chart_id"] == demo.chart_id
    assert config["captures_consented_at"] is not None
    assert config["tv_cookies_valid"]
    assert await pool.fetchval("SELECT count(*) FROM signals") == 0


async def test_its_session_is_valid_on_the_look_alike(database_url: str, pool: Pool) -> None:
    """The stored cookies are the encrypted ones of a signed-in user."""
    demo = await make(database_url)
    config = await only_row(pool, "SELECT * FROM user_config")
    ring = KeyRing(parse_keys(KEYCHAIN.encryption_keys))
    columns = ("tv_sessionid", "tv_sessionid_sign")
    cookies = [ring.decrypt(config[column], session_owner(column, demo.user_id)) for column in columns]
    sessionid, sign = (cookie.get_secret_value() for cookie in cookies)
    assert read(KEYCHAIN.chart_site_secret, sessionid, sign) == "demo"


async def test_its_keys_have_the_two_scopes(database_url: str, pool: Pool) -> None:
    """One sees every tenant, the other this one."""
    demo = await make(database_url)
    keys = ApiKeys(pool, SystemClock())
    assert await keys.access(demo.platform_key.get_secret_value()) == Access(None)
    assert await keys.access(demo.user_key.get_secret_value()) == Access(demo.user_id)


async def test_a_second_start_changes_nothing(database_url: str, pool: Pool) -> None:
    """No new revision for others to learn, no new session, no second key."""
    states = []
    for _start in range(2):
        await make(database_url)
        states.append(
            [
                await pool.fetch(f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608 - names from the line below
                for table in ("users", "user_config", "api_keys")
            ]
        )
    assert states[0] == states[1]


async def test_on_a_real_site_nothing_is_captured_unasked(database_url: str, pool: Pool) -> None:
    """Consent and a session are a person's to give there."""
    await make(database_url, look_alike=False)
    config = await only_row(pool, "SELECT * FROM user_config")
    assert config["captures_consented_at"] is None
    assert config["tv_sessionid"] is None
