"""What each database role may do, and what it is refused."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import pytest_asyncio
from msgspec import structs

from api.keys import ApiKeys, NewApiKey
from capture.outcomes import CaptureRefusedError
from capture.session import SessionStore
from runtime.clock import SystemClock, utc_now
from runtime.ids import uuid7
from runtime.metrics import create_metrics
from runtime.publisher import Message
from runtime.sql import load_queries
from schemas.records import CaptureEventKind, RefusedCalls
from sinks.capture_store import CaptureStore
from sinks.capture_sweep import CaptureSweep
from sinks.partitions import Partitions, PartitionWidth
from sinks.refusals import RefusalStore
from sinks.relay import TenantRelay
from sinks.store import SignalStore
from tests.support.api import new_signal, pool_of, serve_read_side
from tests.support.database_roles import (
    KEYRING,
    LOGINS,
    READERS,
    Scene,
    furnished_tenant,
    open_scene,
    picture_of,
    rows_of,
    store,
)
from tests.support.signals import accepted_signal, new_event
from tests.support.tenants import insert_tenant, new_customer, new_user_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres_url: str) -> AsyncIterator[Scene]:
    async with open_scene(postgres_url) as scene:
        yield scene


class Nowhere:
    """A publisher for what a test does not look at."""

    async def publish(self, messages: Any) -> None:
        assert all(isinstance(message, Message) for message in messages)


async def test_the_sink_stores_signals_and_their_pictures(scene: Scene) -> None:
    """Everything the sink writes is within its rights, also into a partition that is made for it."""
    signal = new_signal(scene.ana)
    source = structs.replace(signal.source, parse_revision=signal.source.parse_revision + 1)
    reparsed = structs.replace(signal, source=source)
    async with scene.login("sink") as pool:
        sink = SignalStore(pool)
        for new in (1, 0):
            batch = await sink.insert([accepted_signal(signal)], utc_now(SystemClock()))
            assert ([row["id"] for row in batch.rows], batch.inserted) == ([signal.signal_id], new)
        await sink.mark_captures_requested([signal.signal_id])
        assert await sink.reparse([accepted_signal(reparsed)]) == 1
        await CaptureStore(pool).apply(
            [new_event(signal, CaptureEventKind.COMPLETED, picture=picture_of(signal))]
        )
    query = "SELECT screenshot_status, capture_requested_at IS NOT NULL FROM signals WHERE id = $1"
    assert await rows_of(scene.owner, query, signal.signal_id) == [("completed", True)]


async def test_the_sink_ends_sessions_and_stops_captures(scene: Scene) -> None:
    """And the capture role sees both at once."""
    user_id = await furnished_tenant(scene.owner)
    signal = new_signal(user_id)
    kinds = {
        CaptureEventKind.SESSION_EXPIRED: "session_expired",
        CaptureEventKind.ACCOUNT_FLAGGED: "captures_stopped",
    }
    async with scene.login("sink") as sink, scene.login("capture") as capture:
        sessions = SessionStore(capture, KEYRING)
        session = await sessions.read(user_id)
        assert session.sessionid.get_secret_value() == "cookie"
        for kind, outcome in kinds.items():
            event = new_event(signal, kind, session_version=session.version, reason="flagged")
            await CaptureStore(sink).apply([event])
            with pytest.raises(CaptureRefusedError) as refused:
                await sessions.read(user_id)
            assert refused.value.outcome.value == outcome


async def test_the_sink_stores_refused_calls(scene: Scene) -> None:
    """Once, though the record comes twice."""
    now_ms = SystemClock().unix_ms()
    moment = datetime.fromtimestamp(now_ms / 1000, UTC).replace(microsecond=now_ms % 1000 * 1000)
    calls = RefusedCalls(
        id=uuid7(now_ms, 0, secrets.randbits(60)),
        client_address="203.0.113.7",
        reason="not_found",
        status=404,
        count=3,
        first_at=moment,
        last_at=moment,
    )
    async with scene.login("sink") as pool:
        assert [await RefusalStore(pool).insert([calls]) for _time in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("role", "sees"),
    [
        ("sink", True),
        ("capture", True),
        ("alerts_platform_reader", True),
        ("alerts_reader", False),
        ("api", False),
    ],
)
async def test_a_role_can_tell_whether_it_sees_every_tenant(scene: Scene, role: str, *, sees: bool) -> None:
    """Who does not must not conclude that what it cannot find is lost."""
    async with scene.login(role) as pool:
        assert await pool.fetchval("SELECT sees_every_tenant()") is sees
    assert await scene.owner.fetchval("SELECT sees_every_tenant()")


async def test_the_sink_asks_for_captures_again(scene: Scene) -> None:
    """It marks what is late, finds what was forgotten, and announces what was released."""
    late = new_signal(scene.ana)
    await store(scene.owner, late)
    await scene.owner.execute("INSERT INTO released_signals (signal_id) VALUES ($1)", late.signal_id)
    await scene.owner.execute("UPDATE signals SET capture_by = now() WHERE id = $1", late.signal_id)
    async with scene.login("sink") as pool:
        sweep = CaptureSweep(pool, Nowhere(), create_metrics(), SystemClock())
        while await sweep.sweep():
            pass
    query = "SELECT screenshot_status, screenshot_reason FROM signals WHERE id = $1"
    assert await rows_of(scene.owner, query, late.signal_id) == [("skipped", "stale")]
    assert await rows_of(scene.owner, "SELECT * FROM released_signals") == []


async def test_the_sink_makes_partitions_ahead(scene: Scene, database_url: str) -> None:  # noqa: ARG001 - makes the logins
    """Of the width in its settings, in tables that it does not own."""
    async with pool_of(LOGINS["sink"].url(database_url)) as pool:
        assert await Partitions(pool, PartitionWidth.WEEK).ensure(utc_now(SystemClock()))


async def test_the_sink_publishes_tenants(scene: Scene) -> None:
    """It reads the hashes, retires tokens after their grace and marks what was published."""
    customer = new_customer()
    await insert_tenant(scene.owner, customer)
    user_id = customer.tenant.user_id
    await scene.owner.execute(
        "UPDATE users SET previous_token_hash = sha256(id::text::bytea), previous_token_until = now()"
        " WHERE id = $1",
        user_id,
    )
    async with scene.login("sink") as pool:
        relay = TenantRelay(pool, Nowhere(), SystemClock(), create_metrics())
        assert await relay.relay() > 0
        queries = load_queries("sinks", "relay.sql")
        await pool.fetch(queries["published_revisions"])
        await pool.execute(queries["forget_published"], [user_id], [1])
        assert await relay.relay() == 1
    query = "SELECT revision, published_revision, previous_token_hash FROM users WHERE id = $1"
    assert await rows_of(scene.owner, query, user_id) == [(2, 2, None)]


async def test_the_capture_role_sees_how_far_a_signal_is(scene: Scene) -> None:
    """That is all it needs to know of a signal that another worker may have finished."""
    async with scene.login("capture") as pool:
        rows = await pool.fetch(
            "SELECT id, user_id, screenshot_status, capture_request_no, capture_rank, capture_by FROM signals"
        )
        assert await pool.fetchval("SELECT plan FROM users WHERE id = $1", scene.ana) == "premium"
    assert {scene.ana, scene.bob} <= {row["user_id"] for row in rows}


async def test_the_api_answers_under_its_own_login(scene: Scene, tmp_path: Path) -> None:
    """Lists and single signals, with the picture, to a tenant and to the platform."""
    keys = ApiKeys(scene.owner, SystemClock())
    own = (await keys.create_api_key(NewApiKey("ana", scene.ana))).get_secret_value()
    platform = (await keys.create_api_key(NewApiKey("platform"))).get_secret_value()
    empty = new_customer()
    await insert_tenant(scene.owner, empty)
    foreign = await scene.owner.fetchval("SELECT id FROM signals WHERE user_id = $1 LIMIT 1", scene.bob)
    async with scene.login("api") as pool, serve_read_side(pool, tmp_path) as api:
        status, page = await api.get(f"/api/users/{scene.ana}/signals", own)
        assert (status, {item["user_id"] for item in page["items"]}) == (200, {str(scene.ana)})
        assert "completed" in {item["screenshot_status"] for item in page["items"]}
        for item in page["items"]:
            assert bool(item["screenshot_url"]) == (item["screenshot_status"] == "completed")
        assert (await api.get(f"/api/signals/{page['items'][0]['signal_id']}", own))[0] == 200
        assert (await api.get(f"/api/signals/{foreign}", own))[0] == 404
        assert (await api.get(f"/api/signals/{foreign}", platform))[1]["screenshot_url"]
        assert (await api.get(f"/api/users/{empty.tenant.user_id}/signals", platform))[0] == 200
        assert (await api.get(f"/api/users/{new_user_id()}/signals", platform))[0] == 404


REFUSED: Final = {
    "sink": [
        "SELECT webhook_token FROM users",
        "SELECT * FROM users",
        "UPDATE users SET plan = 'premium'",
        "UPDATE users SET webhook_token_hash = ''",
        "INSERT INTO users (id) VALUES (gen_random_uuid())",
        "DELETE FROM users",
        "SELECT tv_sessionid FROM user_config",
        "UPDATE user_config SET tv_sessionid = NULL",
        "UPDATE user_config SET captures_consented_at = now()",
        "UPDATE audit_logs SET outcome = 'accepted'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "DELETE FROM signals",
        "DELETE FROM screenshots",
        "INSERT INTO retired_partitions (name) VALUES ('signals')",
        "SELECT key_hash FROM api_keys",
        "SET ROLE alerts_platform_reader",
        "ALTER TABLE signals DISABLE ROW LEVEL SECURITY",
    ],
    "capture": [
        "SELECT webhook_token FROM users",
        "SELECT webhook_token_hash FROM users",
        "SELECT previous_token_hash FROM users",
        "SELECT message FROM signals",
        "UPDATE signals SET capture_rank = 0",
        "UPDATE user_config SET tv_cookies_valid = false",
        "SELECT id FROM audit_logs",
        "SELECT key_hash FROM api_keys",
        "SET ROLE alerts_sink",
    ],
    "api": [
        "SELECT id FROM signals",
        "SELECT id FROM users",
        "SELECT user_id FROM user_config",
        "SELECT id FROM audit_logs",
        "SELECT label FROM api_keys",
        "UPDATE api_keys SET revoked_at = NULL",
        "SET ROLE alerts_sink",
        "SET ROLE alerts_capture",
    ],
    **{
        reader: [
            "SELECT webhook_token FROM users",
            "SELECT webhook_token_hash FROM users",
            "SELECT previous_token_hash FROM users",
            "SELECT tv_sessionid FROM user_config",
            "SELECT tv_sessionid_sign FROM user_config",
            "SELECT key_hash FROM api_keys",
            "UPDATE signals SET notes = ''",
            "INSERT INTO audit_logs (id) VALUES (gen_random_uuid())",
            "DELETE FROM audit_logs",
            "DELETE FROM signals",
            "SELECT ensure_partition('signals', '2026-01-01')",
            "SET ROLE alerts_sink",
        ]
        for reader in READERS
    },
}


@pytest.mark.parametrize("role", REFUSED)
async def test_a_role_is_refused_what_is_not_its_business(scene: Scene, role: str) -> None:
    """Tokens, cookies, keys, others' rows, the past of the audit and other roles' rights."""
    async with scene.login(role) as pool:
        for statement in REFUSED[role]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)
