"""The sink's transactions on a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
import pytest_asyncio

from runtime.clock import SystemClock, utc_now
from runtime.ids import SignalIds
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from schemas.records import (
    CaptureEventKind,
    ExactDecimal,
    Picture,
    Warning_,
)
from sinks.capture_store import CaptureStore
from sinks.store import AcceptedSignal, SignalStore
from tests.support.signals import accepted_signal, new_event, signal_of

USER = UUID("019a0000-0000-7000-8000-00000000000a")
IDS = SignalIds(SystemClock())
NOW = utc_now(SystemClock())


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": database_url}), "test") as pool:
        yield pool


def accepted(**changes: object) -> AcceptedSignal:
    """A signal with the values that are hard to keep."""
    values = {
        "price": ExactDecimal("0.0000000000123"),
        "triggered_at": datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
        "fields": {"RSI": "31.5", "TP": None},
        "message": "línea 🟢\n{}",
        "warnings": [Warning_.NAIVE_TIME],
        **changes,
    }
    return accepted_signal(signal_of(USER, **values))


async def test_a_signal_is_stored_once_with_every_field(pool: Pool) -> None:
    """Inserting the same signal again changes nothing, and what is stored is what was sent."""
    await insert_user(pool)
    store = SignalStore(pool)
    item = accepted()
    assert (await store.insert([item], NOW)).inserted == 1
    assert (await store.insert([item, accepted(), item], NOW)).inserted == 1
    row = await pool.fetchrow("SELECT * FROM signals WHERE id = $1", item.signal.signal_id)
    assert row is not None
    assert (row["price"], row["fields"], row["message"]) == (
        item.signal.price,
        {"RSI": "31.5", "TP": None},
        "línea 🟢\n{}",
    )
    assert (row["timestamp"], row["triggered_at"]) == (item.signal.received_at, item.signal.triggered_at)
    assert (row["warnings"], row["source_format"]) == (["naive_time"], "json")
    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == 2


@pytest.mark.parametrize(
    ("consented", "changes", "expected"),
    [
        (False, {}, ("skipped", "not_consented")),
        (True, {}, ("pending", None)),
        (True, {"ticker": None}, ("skipped", "no_ticker")),
        (True, {"chart_id": None}, ("skipped", "no_chart")),
    ],
)
async def test_a_capture_is_wanted_only_where_it_is_possible_and_allowed(
    pool: Pool, *, consented: bool, changes: dict[str, object], expected: tuple[str, str | None]
) -> None:
    """The row says from the start whether a picture will come, and if not, why."""
    await insert_user(pool, consented=consented)
    batch = await SignalStore(pool).insert([accepted(**changes)], NOW)
    row = batch.rows[0]
    reason = await pool.fetchval("SELECT screenshot_reason FROM signals")
    assert (row["screenshot_status"], reason) == expected


async def test_an_older_capture_event_never_overwrites_a_newer_one(pool: Pool) -> None:
    """Whatever the order and repetition of events, the row ends with the greatest (request_no, rank)."""
    await insert_user(pool)
    store = CaptureStore(pool)
    item = accepted()
    await SignalStore(pool).insert([item], NOW)
    picture = Picture(
        key="ab/cd.png", size_bytes=10, width_px=1920, height_px=1080, captured_at=item.signal.received_at
    )
    completed = new_event(item.signal, CaptureEventKind.COMPLETED, picture=picture, timings_ms={"shoot": 20})
    await store.apply([new_event(item.signal, CaptureEventKind.STARTED), completed, completed])
    await store.apply([new_event(item.signal, CaptureEventKind.FAILED, reason="late")])
    assert await status(pool) == ("completed", None)
    assert await pool.fetchval("SELECT screenshot_key FROM signal_screenshots") == "ab/cd.png"
    await store.apply([new_event(item.signal, CaptureEventKind.STARTED, request_no=2)])
    assert await status(pool) == ("processing", None)


async def test_only_an_event_of_the_current_session_marks_it_expired(pool: Pool) -> None:
    """A late report about replaced cookies does not stop the new ones."""
    await insert_user(pool)
    store = CaptureStore(pool)
    item = accepted()
    await SignalStore(pool).insert([item], NOW)
    await store.apply([new_event(item.signal, CaptureEventKind.SESSION_EXPIRED, session_version=6)])
    assert await pool.fetchval("SELECT tv_cookies_valid FROM user_config")
    await store.apply(
        [new_event(item.signal, CaptureEventKind.SESSION_EXPIRED, session_version=7, request_no=2)]
    )
    assert not await pool.fetchval("SELECT tv_cookies_valid FROM user_config")


async def insert_user(pool: Pool, *, consented: bool = True) -> None:
    await pool.execute(
        "INSERT INTO users (id, name, webhook_token_hash, webhook_token, plan, quota_mode, quota_reset_at) "
        "VALUES ($1, 'one', $2, 'x', 'premium', 'off', now())",
        USER,
        bytes(32),
    )
    await pool.execute(
        "INSERT INTO user_config (user_id, captures_consented_at, session_version, tv_cookies_valid) "
        "VALUES ($1, CASE WHEN $2 THEN now() END, 7, true)",
        USER,
        consented,
    )


async def status(pool: Pool) -> tuple[str, str | None]:
    row = await pool.fetchrow("SELECT screenshot_status, screenshot_reason FROM signals")
    assert row is not None
    return row["screenshot_status"], row["screenshot_reason"]
