"""Partitions and old rows for the tests of the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from runtime.clock import SystemClock, utc_now
from runtime.ids import lowest_id_at, received_at_of
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from schemas.plans import PLAN_TERMS, Plan
from tests.support.tenants import new_user_id

TABLES: Final = ("signals", "audit_logs")


@dataclass(frozen=True, slots=True)
class Range:
    """Moments from `lower` up to but without `upper`."""

    name: str
    lower: datetime
    upper: datetime


def now() -> datetime:
    return utc_now(SystemClock())


def day_before(days: int) -> datetime:
    """The beginning of a day, in UTC, so many days ago."""
    return datetime.combine(now().date(), time(tzinfo=UTC)) - timedelta(days=days)


def past_keeping(plan: Plan) -> datetime:
    """A moment that the plan has just ceased to keep."""
    return now() - timedelta(days=PLAN_TERMS[plan].signals_kept_days)


def id_at(moment: datetime) -> UUID:
    return lowest_id_at(round(moment.timestamp() * 1000))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": url}), "test") as pool:
        yield pool


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def ranges(pool: Pool, table: str) -> list[Range]:
    """The attached partitions by time."""
    rows = await pool.fetch(
        "SELECT child::text AS name, lower_id, upper_id FROM partition_ranges($1::text::regclass) ORDER BY 2",
        table,
    )
    return [
        Range(row["name"], received_at_of(row["lower_id"]), received_at_of(row["upper_id"])) for row in rows
    ]


async def make_old_partition(pool: Pool, table: str) -> str:
    """A month that no plan keeps any more. Returns its name."""
    first = (day_before(800)).replace(day=1)
    upper = (first + timedelta(days=31)).replace(day=1)
    name = f"{table}_{first:%Y_%m}"
    await pool.execute(
        f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{id_at(first)}') TO ('{id_at(upper)}')"
    )
    return name


async def put_user(pool: Pool, plan: Plan) -> UUID:
    user_id = new_user_id()
    await pool.execute(
        "INSERT INTO users (id, name, webhook_token_hash, webhook_token, plan, quota_mode, quota_reset_at) "
        "VALUES ($1, 'one', decode(repeat(md5($2), 2), 'hex'), 'x', $3, 'off', now())",
        user_id,
        str(user_id),
        plan.value,
    )
    return user_id


async def put_call(pool: Pool, user_id: UUID, moment: datetime, disposition: str = "stored") -> UUID:
    """A signal with its audit row and picture, and partitions for them if that is possible."""
    signal_id = id_at(moment)
    await pool.execute(
        "SELECT ensure_partition(t::regclass, $1) FROM unnest($2::text[]) AS t", moment, TABLES
    )
    await pool.execute(
        'INSERT INTO signals (id, user_id, plan, "timestamp", delayed, fields, message, parse_status, '
        "warnings, source_format, parse_revision, lane, screenshot_status, capture_by, disposition) "
        "VALUES ($1, $2, 'free', $3, false, '{}', 'text', 'partial', '{}', 'json', 1, 'main', 'pending', $3, "
        "$4)",
        signal_id,
        user_id,
        received_at_of(signal_id),
        disposition,
    )
    await pool.execute(
        "INSERT INTO audit_logs (id, user_id, received_at, client_address, user_agent, content_type, "
        "body_bytes, lane, outcome) "
        "VALUES ($1, $2, $3, '192.0.2.1', 'agent', 'text/plain', 5, 'main', 'accepted')",
        signal_id,
        user_id,
        received_at_of(signal_id),
    )
    await put_picture(pool, user_id, signal_id)
    return signal_id


async def put_picture(pool: Pool, user_id: UUID, signal_id: UUID) -> None:
    await pool.execute(
        "INSERT INTO screenshots (key, user_id, size_bytes, width_px, height_px, outcome, tries, timings_ms, "
        "captured_at) VALUES ($1, $2, 1, 1, 1, 'completed', 1, '{}', now())",
        str(signal_id),
        user_id,
    )
    await pool.execute("INSERT INTO signal_screenshots VALUES ($1, $2)", signal_id, str(signal_id))
