"""Tenants with a quota of their own, and what the store says of them."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from runtime.clock import SystemClock, utc_now
from runtime.ids import uuid7
from runtime.postgres import Pool
from schemas.plans import Plan, QuotaMode
from schemas.records import Signal
from sinks.store import SignalStore, StoredBatch
from tests.support.signals import accepted_signal, new_signal
from tests.support.tenants import Customer, insert_tenant, new_customer


async def tenant_with_quota(
    pool: Pool, quota: int | None, mode: QuotaMode = QuotaMode.STRICT, plan: Plan = Plan.BASIC
) -> Customer:
    """A consenting tenant whose month turns at this time of a day."""
    customer = new_customer(plan)
    await insert_tenant(pool, customer)
    await set_quota(pool, customer, quota, mode)
    return customer


async def set_quota(
    pool: Pool, customer: Customer, quota: int | None, mode: QuotaMode = QuotaMode.STRICT
) -> None:
    await pool.execute(
        "UPDATE users SET signals_quota = $2, quota_mode = $3 WHERE id = $1",
        customer.tenant.user_id,
        quota,
        mode.value,
    )


async def set_turn(pool: Pool, customer: Customer, turn: datetime) -> None:
    await pool.execute("UPDATE users SET quota_reset_at = $2 WHERE id = $1", customer.tenant.user_id, turn)


def id_at(moment: datetime) -> UUID:
    """A new id of this moment, in whole milliseconds."""
    return uuid7(round(moment.timestamp() * 1000), secrets.randbits(12), secrets.randbits(62))


def signal_at(customer: Customer, moment: datetime, **changes: object) -> Signal:
    return new_signal(customer, signal_id=id_at(moment), **changes)


async def insert(pool: Pool, signals: Sequence[Signal], **call: object) -> StoredBatch:
    """As a sink that has just started does, now."""
    accepted = [accepted_signal(signal, **call) for signal in signals]
    return await SignalStore(pool).insert(accepted, utc_now(SystemClock()))


async def usage(pool: Pool, customer: Customer) -> dict[datetime, int]:
    """Signals used, by period."""
    rows = await pool.fetch(
        "SELECT period, signals_used FROM user_usage WHERE user_id = $1", customer.tenant.user_id
    )
    return {row["period"]: row["signals_used"] for row in rows}


async def dispositions(pool: Pool, customer: Customer) -> dict[UUID, str]:
    """Of all rows of the tenant, in the order of their ids."""
    rows = await pool.fetch(
        "SELECT id, disposition FROM signals WHERE user_id = $1 ORDER BY id", customer.tenant.user_id
    )
    return {row["id"]: row["disposition"] for row in rows}


async def miscounted(pool: Pool) -> int:
    """Periods whose count is not that of the rows received in them and stored."""
    count: int = await pool.fetchval(
        """
        WITH stored AS (
            SELECT user_id, quota_period(quota_reset_at, "timestamp") AS period, count(*) AS rows
            FROM signals JOIN users ON users.id = user_id
            WHERE disposition = 'stored'
            GROUP BY 1, 2
        )
        SELECT count(*)
        FROM stored FULL JOIN user_usage USING (user_id, period)
        WHERE coalesce(rows, 0) <> coalesce(signals_used, 0)
        """
    )
    return count
