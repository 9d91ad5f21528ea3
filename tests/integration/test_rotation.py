"""`alerts keys rotate` on a real database, alone and beside those who change what it moves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from pydantic import SecretStr

from api.rotation import OWNERS, KeyRotation, Progress, Unreadable
from api.tenants import Tenants
from api.users import NewUser
from runtime.encryption import KeyRing
from runtime.postgres import Pool, open_pool
from runtime.sessions import session_owner
from runtime.settings import PostgresSettings
from schemas.plans import Plan
from tests.support.clock import FakeClock
from tests.support.waiting import eventually

OLD, NEW = b"o" * 32, b"n" * 32
BEFORE = KeyRing({"old": OLD})
BOTH = KeyRing({"new": NEW, "old": OLD})
AFTER = KeyRing({"new": NEW})
SESSIONID, SIGN = SecretStr("the-first-cookie"), SecretStr("the-second-cookie")


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": database_url}), "test") as opened:
        yield opened


def office(pool: Pool, ring: KeyRing) -> Tenants:
    return Tenants(pool, ring, FakeClock())


async def customers(pool: Pool, number: int, ring: KeyRing = BEFORE) -> list[UUID]:
    """With a session each, all encrypted by the ring's first key."""
    tenants = office(pool, ring)
    made = [await tenants.create_user(NewUser(name=f"user {i}", plan=Plan.BASIC)) for i in range(number)]
    for user in made:
        await tenants.set_session(user.user_id, SESSIONID, SIGN)
    return [user.user_id for user in made]


async def cookies(pool: Pool, ring: KeyRing, user_id: UUID) -> list[str]:
    row = await config(pool, user_id)
    columns = ("tv_sessionid", "tv_sessionid_sign")
    values = [ring.decrypt(row[column], session_owner(column, user_id)) for column in columns]
    return [value.get_secret_value() for value in values]


async def config(pool: Pool, user_id: UUID) -> Any:
    return await pool.fetchrow("SELECT * FROM user_config WHERE user_id = $1", user_id)


async def rotate(pool: Pool, *, ring: KeyRing = BOTH, dry: bool = False) -> Progress:
    """All batches as one."""
    parts = [part async for part in KeyRotation(pool, ring).run(dry=dry)]
    unreadable = [value for part in parts for value in part.unreadable]
    return Progress(sum(part.seen for part in parts), sum(part.moved for part in parts), unreadable)


async def uses(pool: Pool) -> dict[str | None, int]:
    return {use.key_id: use.secrets for use in await KeyRotation(pool, BOTH).count_by_key()}


async def test_after_it_the_old_key_is_not_needed(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every encrypted value of every user moves, over as many batches as it takes; nothing else changes."""
    monkeypatch.setattr("api.rotation.BATCH", 4)
    ids = await customers(pool, 3)
    tokens = [await office(pool, BEFORE).webhook_token(user_id) for user_id in ids]
    users = await pool.fetch("SELECT to_jsonb(u) - 'webhook_token' AS rest FROM users AS u ORDER BY id")
    configs = [await config(pool, user_id) for user_id in ids]
    assert await uses(pool) == {"old": 9}
    assert await rotate(pool) == Progress(9, 9, [])
    assert await uses(pool) == {"new": 9}
    assert [await cookies(pool, AFTER, user_id) for user_id in ids] == [[*map(_plain, (SESSIONID, SIGN))]] * 3
    assert [await office(pool, AFTER).webhook_token(user_id) for user_id in ids] == tokens
    assert users == await pool.fetch(
        "SELECT to_jsonb(u) - 'webhook_token' AS rest FROM users AS u ORDER BY id"
    )
    for before, user_id in zip(configs, ids, strict=True):
        changed = {name for name, value in (await config(pool, user_id)).items() if value != before[name]}
        assert changed == {"tv_sessionid", "tv_sessionid_sign"}


async def test_a_second_run_has_nothing_to_do(pool: Pool) -> None:
    """So an interrupted one is continued by the next."""
    await customers(pool, 2)
    interrupted = KeyRotation(pool, BOTH)
    await rotate(pool)
    before = await pool.fetch("SELECT * FROM user_config ORDER BY user_id")
    assert [part async for part in interrupted.run()] == []
    assert await pool.fetch("SELECT * FROM user_config ORDER BY user_id") == before


async def test_an_interrupted_run_is_continued(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first batch has moved stays moved; the next run sees only the rest."""
    monkeypatch.setattr("api.rotation.BATCH", 2)
    await customers(pool, 2)
    batches = KeyRotation(pool, BOTH).run()
    await anext(batches)
    await batches.aclose()
    assert await uses(pool) == {"new": 2, "old": 4}
    assert (await rotate(pool)).seen == 4


async def test_a_dry_run_changes_nothing(pool: Pool) -> None:
    """It tells what there is to do, and what could not be done."""
    [user_id, other] = await customers(pool, 2)
    await pool.execute("UPDATE users SET webhook_token = '\\x00' WHERE id = $1", other)
    before = await config(pool, user_id)
    assert await rotate(pool, dry=True) == Progress(
        6, 0, [Unreadable(other, "webhook_token", "undecryptable")]
    )
    assert await config(pool, user_id) == before
    assert await uses(pool) == {"old": 5, None: 1}


async def test_what_cannot_be_read_is_named_and_stays(pool: Pool) -> None:
    """A key that is gone and a value of another user's stop nobody else's from moving."""
    [lost, moved, whole] = await customers(pool, 3)
    foreign = KeyRing({"gone": b"g" * 32})
    await office(pool, foreign).set_session(lost, SESSIONID, SIGN)
    await pool.execute(
        "UPDATE user_config AS c SET tv_sessionid = o.tv_sessionid"
        " FROM user_config AS o WHERE c.user_id = $1 AND o.user_id = $2",
        moved,
        whole,
    )
    result = await rotate(pool)
    assert (result.seen, result.moved) == (9, 6)
    assert sorted(result.unreadable, key=lambda value: (value.user_id, value.secret)) == [
        Unreadable(lost, "tv_sessionid", "unknown_key"),
        Unreadable(lost, "tv_sessionid_sign", "unknown_key"),
        Unreadable(moved, "tv_sessionid", "undecryptable"),
    ]
    assert await uses(pool) == {"new": 6, "gone": 2, "old": 1}


async def test_who_renews_a_session_meanwhile_wins(pool: Pool) -> None:
    """The rotation has read the old cookies and waits for the row; what it writes then is not them."""
    [user_id] = await customers(pool, 1)
    fresh = SecretStr("renewed")
    async with pool.acquire() as connection, connection.transaction():
        # as `set_session` does it, which keeps the row locked until it commits
        await connection.execute("SELECT 1 FROM user_config WHERE user_id = $1 FOR UPDATE", user_id)
        rotating = asyncio.create_task(rotate(pool))
        await until_blocked(connection)
        blobs = [
            BEFORE.encrypt(fresh, session_owner(column, user_id))
            for column in ("tv_sessionid", "tv_sessionid_sign")
        ]
        await connection.execute(
            "UPDATE user_config SET tv_sessionid = $2, tv_sessionid_sign = $3 WHERE user_id = $1",
            user_id,
            *blobs,
        )
    result = await rotating
    assert (result.seen, result.moved) == (3, 1)
    assert await cookies(pool, BOTH, user_id) == ["renewed", "renewed"]
    await rotate(pool)
    assert await cookies(pool, AFTER, user_id) == ["renewed", "renewed"]


async def test_sessions_and_tokens_are_renewed_beside_it(pool: Pool) -> None:
    """In any interleaving the last session and token that a caller was told of are the stored ones."""
    ids = await customers(pool, 8)
    tenants = office(pool, BOTH)

    async def renew(user_id: UUID) -> SecretStr:
        await tenants.set_session(user_id, SecretStr(f"cookie-{user_id}"), SIGN)
        return await tenants.rotate_token(user_id, timedelta(0))

    *tokens, _ = await asyncio.gather(*(renew(user_id) for user_id in ids), rotate(pool))
    assert (await rotate(pool)).unreadable == []
    assert await uses(pool) == {"new": 24}
    for user_id, token in zip(ids, tokens, strict=True):
        assert await cookies(pool, AFTER, user_id) == [f"cookie-{user_id}", _plain(SIGN)]
        assert await office(pool, AFTER).webhook_token(user_id) == token


async def test_every_encrypted_column_is_rotated(pool: Pool) -> None:
    """A column that is added for something encrypted must be told to the rotation too."""
    rows = await pool.fetch(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'bytea' AND column_name !~ 'hash$|_key$'"
        " AND table_name IN ('users', 'user_config')"
    )
    assert {row["column_name"] for row in rows} == set(OWNERS)


async def until_blocked(connection: Any) -> None:
    """Until another session waits for a lock that this one holds."""

    async def blocks() -> bool:
        # not the view of activity: a transaction sees that as it was at first
        waiting = "SELECT 1 FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        return await connection.fetchval(waiting) is not None

    await eventually(blocks)


def _plain(value: SecretStr) -> str:
    return value.get_secret_value()
