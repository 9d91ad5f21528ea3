"""The quota on a real database: what is counted, once, in which period, and what is parked."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from api.quota import ParkedSignals
from runtime.clock import SystemClock, utc_now
from runtime.errors import InvalidError
from runtime.metrics import create_metrics
from runtime.postgres import Pool
from schemas.plans import PLAN_TERMS, Plan, QuotaMode
from schemas.records import Disposition, Lane, Signal, Source, SourceFormat
from sinks.partitions import LONGEST_KEPT_DAYS
from sinks.stages import SignalStage
from sinks.store import SignalStore
from tests.support.api import pool_of
from tests.support.publisher import MemoryPublisher
from tests.support.quota import (
    dispositions,
    insert,
    miscounted,
    set_quota,
    set_turn,
    signal_at,
    tenant_with_quota,
    usage,
)
from tests.support.signals import accepted_signal, new_signal, signal_record
from tests.support.tenants import Customer, new_customer
from tests.support.waiting import eventually

DAY = timedelta(days=1)
MS = timedelta(milliseconds=1)
NOW = utc_now(SystemClock())
# a turn this month or the last one, so that the present period began 10 days ago
TURN = NOW.replace(microsecond=0) - 10 * DAY


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with pool_of(database_url) as pool:
        yield pool


def several(customer: Customer, count: int) -> list[Signal]:
    return [new_signal(customer) for _ in range(count)]


async def used(pool: Pool, customer: Customer) -> int:
    return sum((await usage(pool, customer)).values())


async def test_a_signal_counts_once_however_often_it_comes(pool: Pool) -> None:
    """Twice in a batch, again in a later one, at two sinks at once, by a replay of a higher revision."""
    customer = await tenant_with_quota(pool, 100)
    signals = several(customer, 5)
    first = await insert(pool, [*signals[:3], signals[0], signals[2]])
    assert (first.inserted, await used(pool, customer)) == (3, 3)
    batches = await asyncio.gather(insert(pool, signals), insert(pool, signals[::-1]))
    assert sum(batch.inserted for batch in batches) == 2
    assert [len(batch.rows) for batch in batches] == [5, 5]
    stage = SignalStage(SignalStore(pool), MemoryPublisher(), create_metrics(), SystemClock())
    better = Source(format=SourceFormat.JSON, indicator_file=None, parse_revision=2)
    replayed = [new_signal(customer, signal_id=s.signal_id, lane=Lane.REPLAY, source=better) for s in signals]
    await stage.replay([signal_record(signal) for signal in replayed])
    assert (await used(pool, customer), await miscounted(pool)) == (5, 0)
    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == 5


async def test_strict_parks_exactly_what_is_above_in_the_order_of_ids(pool: Pool) -> None:
    """However the batch is ordered; parked rows take no place, also when they come again."""
    customer = await tenant_with_quota(pool, 5)
    signals = several(customer, 9)
    batch = await insert(pool, signals[1::2][::-1] + signals[::2])
    assert (batch.count(Disposition.STORED), batch.count(Disposition.PARKED)) == (5, 4)
    expected = {s.signal_id: "stored" if place < 5 else "parked" for place, s in enumerate(signals)}
    assert await dispositions(pool, customer) == expected
    await insert(pool, signals)
    later = several(customer, 2)
    await insert(pool, later)
    assert await dispositions(pool, customer) == expected | {s.signal_id: "parked" for s in later}
    assert (await used(pool, customer), await miscounted(pool)) == (5, 0)


async def test_a_parked_signal_has_its_audit_row_and_no_place_in_the_quota(pool: Pool) -> None:
    """A quota of nothing stores nothing, and everything is on record."""
    customer = await tenant_with_quota(pool, 0)
    batch = await insert(pool, several(customer, 3))
    assert [row["disposition"] for row in batch.rows] == ["parked"] * 3
    assert (await used(pool, customer), batch.over_quota) == (0, 0)
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE outcome = 'accepted'") == 3


async def test_soft_stores_what_is_above_and_says_how_much(pool: Pool) -> None:
    """All are stored and counted; what came above the quota is told once."""
    customer = await tenant_with_quota(pool, 3, QuotaMode.SOFT)
    signals = several(customer, 5)
    assert (await insert(pool, signals)).over_quota == 2
    assert (await insert(pool, signals)).over_quota == 0
    assert (await insert(pool, several(customer, 4))).over_quota == 4
    assert set((await dispositions(pool, customer)).values()) == {"stored"}
    assert await used(pool, customer) == 9


@pytest.mark.parametrize("quota", [None, 1])
async def test_off_counts_and_ignores_the_quota(pool: Pool, quota: int | None) -> None:
    """Whatever number is left in the row."""
    customer = await tenant_with_quota(pool, quota, QuotaMode.OFF)
    batch = await insert(pool, several(customer, 4))
    assert (batch.over_quota, await used(pool, customer)) == (0, 4)
    assert set((await dispositions(pool, customer)).values()) == {"stored"}


async def test_tenants_of_one_batch_have_their_quotas_apart(pool: Pool) -> None:
    """One above the quota takes no place from another."""
    modes = [(2, QuotaMode.STRICT), (2, QuotaMode.SOFT), (None, QuotaMode.OFF)]
    customers = [await tenant_with_quota(pool, *mode) for mode in modes]
    batch = await insert(pool, [new_signal(customer) for _ in range(4) for customer in customers])
    assert batch.over_quota == 2
    stored = [list((await dispositions(pool, customer)).values()).count("stored") for customer in customers]
    assert (stored, await miscounted(pool)) == ([2, 4, 4], 0)


async def test_sinks_at_once_store_exactly_the_quota(pool: Pool) -> None:
    """Three sinks, the same tenants in other orders, round after round: no more, no less, no deadlock."""
    customers = [await tenant_with_quota(pool, 40) for _ in range(6)]
    stores = [SignalStore(pool) for _ in range(3)]
    chance = random.Random(8)
    offered: dict[UUID, UUID] = {}
    for _ in range(25):
        shared = [new_signal(customer) for customer in chance.sample(customers, 3)]
        batches = []
        for _store in stores:
            mine = [new_signal(c) for c in chance.sample(customers, 4) for _ in range(chance.randint(1, 2))]
            batches.append(chance.sample([*mine, *shared], len(mine) + len(shared)))
        offered.update({signal.signal_id: signal.user_id for batch in batches for signal in batch})
        await asyncio.gather(
            *(
                store.insert([accepted_signal(signal) for signal in batch], NOW)
                for store, batch in zip(stores, batches, strict=True)
            )
        )
    for customer in customers:
        outcome = list((await dispositions(pool, customer)).values())
        assert len(outcome) == list(offered.values()).count(customer.tenant.user_id) > 40
        assert (outcome.count("stored"), await used(pool, customer)) == (40, 40)
    assert await miscounted(pool) == 0


async def test_sinks_at_once_make_the_rows_of_a_period_together(pool: Pool) -> None:
    """Nobody has a usage row yet, and every sink needs those of several periods."""
    for _ in range(5):
        customers = [await tenant_with_quota(pool, 3) for _ in range(5)]
        for customer in customers:
            await set_turn(pool, customer, TURN)
        moments = [TURN - DAY, TURN + DAY]
        batches = [
            [signal_at(customer, moment) for customer in customers[::step] for moment in moments[::step]]
            for step in (1, -1, 1)
        ]
        await asyncio.gather(*(insert(pool, batch) for batch in batches))
        assert [list((await usage(pool, customer)).values()) for customer in customers] == [[3, 3]] * 5


async def test_the_month_turns_between_two_milliseconds(pool: Pool) -> None:
    """The last one of the old period and the first of the new one, in one batch, each in its own quota."""
    customer = await tenant_with_quota(pool, 1)
    await set_turn(pool, customer, TURN)
    edges = [TURN - 2 * MS, TURN - MS, TURN, TURN + MS]
    await insert(pool, [signal_at(customer, moment) for moment in edges])
    assert list((await dispositions(pool, customer)).values()) == ["stored", "parked", "stored", "parked"]
    counts = await usage(pool, customer)
    assert sorted(counts.values()) == [1, 1]
    assert max(counts) == TURN


async def test_a_late_signal_counts_in_the_month_it_was_received_in(pool: Pool) -> None:
    """The present month may be used up or untouched: it is not asked."""
    customer = await tenant_with_quota(pool, 2)
    await set_turn(pool, customer, TURN)
    await insert(pool, [signal_at(customer, TURN + DAY) for _ in range(3)])
    late = [signal_at(customer, TURN - DAY) for _ in range(3)]
    batch = await insert(pool, late)
    assert sorted(row["disposition"] for row in batch.rows) == ["parked", "stored", "stored"]
    assert sorted((await usage(pool, customer)).values()) == [2, 2]
    assert await miscounted(pool) == 0


async def test_a_signal_of_nobody_is_invalid_and_takes_its_batch_with_it(pool: Pool) -> None:
    """So that the harness finds the culprit: nothing is stored, counted or audited."""
    customer = await tenant_with_quota(pool, 10)
    signals = [new_signal(customer), new_signal(new_customer())]
    with pytest.raises(InvalidError) as caught:
        await insert(pool, signals)
    assert caught.value.reason == "unknown_user"
    assert await pool.fetchval("SELECT count(*) FROM signals") == 0
    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == 0
    assert await used(pool, customer) == 0
    assert (await insert(pool, signals[:1])).inserted == 1


@pytest.mark.parametrize("plan", list(Plan))
async def test_what_the_plan_would_not_keep_is_not_stored(pool: Pool, plan: Plan) -> None:
    """It is told as expired and counts for nothing; its neighbour, just young enough, is stored."""
    kept = timedelta(days=PLAN_TERMS[plan].signals_kept_days)
    customer = await tenant_with_quota(pool, 10, plan=plan)
    now = utc_now(SystemClock())
    old, young = signal_at(customer, now - kept - DAY), signal_at(customer, now - kept + DAY)
    for inserted in (1, 0):
        batch = await insert(pool, [old, young, old])
        assert (batch.inserted, batch.expired, len(batch.rows)) == (inserted, 1, 1)
    assert list(await dispositions(pool, customer)) == [young.signal_id]
    assert (await used(pool, customer), await miscounted(pool)) == (1, 0)


async def test_a_signal_older_than_any_partition_is_expired(pool: Pool) -> None:
    """Alone in its batch, years old: no partition is made for it."""
    customer = await tenant_with_quota(pool, 10, QuotaMode.OFF, Plan.PREMIUM)
    batch = await insert(pool, [signal_at(customer, NOW - (LONGEST_KEPT_DAYS + 400) * DAY)])
    assert (batch.inserted, batch.expired, list(batch.rows)) == (0, 1, [])
    assert await usage(pool, customer) == {}


async def test_the_last_use_of_the_webhook_is_that_of_the_latest_signal(pool: Pool) -> None:
    """A late one does not move it back, and parked ones are uses too."""
    customer = await tenant_with_quota(pool, 1)
    await set_turn(pool, customer, TURN)
    early, last = signal_at(customer, TURN + DAY), signal_at(customer, TURN + 3 * DAY)
    between, before = signal_at(customer, TURN + 2 * DAY), signal_at(customer, TURN - DAY)
    for batch in ([early], [last], [between], [before, early]):
        await insert(pool, batch)
    rows = await pool.fetch("SELECT webhook_last_used FROM user_usage ORDER BY period")
    assert [row["webhook_last_used"] for row in rows] == [before.received_at, last.received_at]


async def test_the_plan_that_counts_is_the_users_and_not_the_records(pool: Pool) -> None:
    """A record may be older than a change of plan; its capture still goes to the plan of its record."""
    customer = await tenant_with_quota(pool, 1, QuotaMode.STRICT, Plan.FREE)
    batch = await insert(pool, [new_signal(customer, plan=Plan.PREMIUM) for _ in range(2)])
    assert [row["disposition"] for row in batch.rows] == ["stored", "parked"]


async def test_a_turn_that_is_moved_while_a_batch_waits_loses_no_signal(pool: Pool) -> None:
    """The period that was locked and the one that is counted in are the same."""
    customer = await tenant_with_quota(pool, 10)
    await set_turn(pool, customer, TURN)
    await insert(pool, [signal_at(customer, TURN + DAY)])
    late = signal_at(customer, TURN + DAY)
    async with pool.acquire() as other:
        async with other.transaction():
            await other.execute("SELECT FROM user_usage FOR UPDATE")
            waiting = asyncio.create_task(insert(pool, [late]))
            await eventually(lambda: someone_waits(pool))
            await set_turn(pool, customer, TURN + timedelta(hours=1))
        batch = await waiting
    assert (batch.inserted, batch.expired) == (1, 0)
    assert await used(pool, customer) == 2


async def someone_waits(pool: Pool) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
    )


@dataclass
class Ledger:
    """What must be in the store, kept in memory."""

    quotas: dict[UUID, tuple[int, QuotaMode]]
    rows: dict[UUID, tuple[UUID, str]] = field(default_factory=dict)
    used: dict[tuple[UUID, datetime], int] = field(default_factory=dict)
    over_quota: int = 0

    def insert(self, signals: Sequence[Signal]) -> None:
        for signal in sorted(signals, key=lambda signal: signal.signal_id):
            if signal.signal_id not in self.rows:
                self._take(signal.signal_id, signal.user_id, period_of(signal.received_at))

    def _take(self, signal_id: UUID, user_id: UUID, period: datetime) -> None:
        quota, mode = self.quotas[user_id]
        above = self.used.get((user_id, period), 0) >= quota
        parked = above and mode is QuotaMode.STRICT
        self.rows[signal_id] = (user_id, "parked" if parked else "stored")
        self.used[user_id, period] = self.used.get((user_id, period), 0) + (not parked)
        self.over_quota += above and mode is QuotaMode.SOFT

    def release(self, user_id: UUID) -> None:
        quota, mode = self.quotas[user_id]
        parked = sorted(signal_id for signal_id, row in self.rows.items() if row == (user_id, "parked"))
        used = self.used.get((user_id, TURN), 0)
        remaining = max(quota - used, 0) if mode is QuotaMode.STRICT else len(parked)
        for signal_id in parked[:remaining]:
            self.rows[signal_id] = (user_id, "stored")
        self.used[user_id, TURN] = used + len(parked[:remaining])


def period_of(moment: datetime) -> datetime:
    """Of the two that a walk is in."""
    return TURN if moment >= TURN else BEFORE


BEFORE = (TURN.replace(day=1) - DAY).replace(day=min(TURN.day, (TURN.replace(day=1) - DAY).day))


@pytest.mark.parametrize("seed", range(4))
async def test_a_walk_through_everything_ends_with_the_right_counts(pool: Pool, seed: int) -> None:
    """New and old signals of two months, releases and changes of plan in any order, as a ledger has them."""
    chance = random.Random(seed)
    modes = [(6, QuotaMode.STRICT), (4, QuotaMode.SOFT), (0, QuotaMode.STRICT)]
    customers = [await tenant_with_quota(pool, *mode) for mode in modes]
    for customer in customers:
        await set_turn(pool, customer, TURN)
    ledger = Ledger({c.tenant.user_id: mode for c, mode in zip(customers, modes, strict=True)})
    given: list[Signal] = []
    over_quota = 0
    for _ in range(40):
        customer = chance.choice(customers)
        if (step := chance.random()) < 0.7:
            moments = [chance.choice([TURN - DAY, TURN, TURN + DAY]) for _ in range(chance.randint(1, 3))]
            new = [signal_at(chance.choice(customers), moment) for moment in moments]
            batch = chance.sample(given, min(len(given), 3)) + new
            given += new
            ledger.insert(batch)
            over_quota += (await insert(pool, chance.sample(batch, len(batch)))).over_quota
        elif step < 0.85:
            ledger.release(customer.tenant.user_id)
            await ParkedSignals(pool, SystemClock()).release(customer.tenant.user_id)
        else:
            change = (chance.randint(0, 30), chance.choice([QuotaMode.STRICT, QuotaMode.SOFT]))
            ledger.quotas[customer.tenant.user_id] = change
            await set_quota(pool, customer, *change)
    for customer in customers:
        user_id = customer.tenant.user_id
        assert await dispositions(pool, customer) == {
            signal_id: row[1] for signal_id, row in sorted(ledger.rows.items()) if row[0] == user_id
        }
        assert await usage(pool, customer) == {
            period: count for (user, period), count in ledger.used.items() if user == user_id
        }
    assert over_quota == ledger.over_quota
    stored = [row for row in ledger.rows.values() if row[1] == "stored"]
    assert await pool.fetchval("SELECT sum(signals_used) FROM user_usage") == len(stored)
