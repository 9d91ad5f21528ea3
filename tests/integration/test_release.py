"""Releasing parked signals on a real database and a real broker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from api import quota
from api.quota import ParkedSignals
from api.users_command import command as users_command
from runtime.clock import SystemClock, utc_now
from runtime.environment import Environment
from runtime.errors import InvalidError
from runtime.metrics import create_metrics
from runtime.postgres import Pool
from runtime.publisher import Publisher, open_publisher
from schemas.codec import decode
from schemas.plans import Plan, QuotaMode
from schemas.records import CaptureRequest, Disposition, Signal, StoredSignal
from schemas.topics import CAPTURES, SIGNALS_STORED
from sinks.capture_sweep import CaptureSweep
from sinks.stages import SignalStage
from sinks.store import SignalStore
from tests.support.api import pool_of
from tests.support.quota import (
    dispositions,
    insert,
    set_quota,
    set_turn,
    signal_at,
    tenant_with_quota,
    usage,
)
from tests.support.signals import new_signal, signal_record
from tests.support.tenants import Customer, create_local_topics, kafka_settings, new_user_id
from tests.support.topiclog import TopicLog, open_topic_log

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = timedelta(days=1)
TURN = utc_now(SystemClock()).replace(microsecond=0) - 10 * DAY
STORED, PARKED = Disposition.STORED.value, Disposition.PARKED.value


@dataclass(frozen=True)
class Bench:
    """A database with one tenant of 2 signals a month, the real topics, a sink and its sweep."""

    pool: Pool
    customer: Customer
    signals: SignalStage
    sweep: CaptureSweep
    requests: TopicLog
    announcements: TopicLog

    @property
    def user_id(self) -> UUID:
        return self.customer.tenant.user_id

    async def release(self) -> int:
        return await ParkedSignals(self.pool, SystemClock()).release(self.user_id)

    async def outcome(self) -> list[str]:
        """Dispositions in the order of the ids."""
        return list((await dispositions(self.pool, self.customer)).values())

    async def used(self) -> int:
        return sum((await usage(self.pool, self.customer)).values())

    async def arrive(self, count: int) -> list[Signal]:
        """New signals through the sink."""
        signals = [new_signal(self.customer) for _ in range(count)]
        await self.signals.work([signal_record(signal) for signal in signals])
        return signals

    async def announced(self) -> list[StoredSignal]:
        records = await self.announcements.of(self.customer.key)
        return [decode(record.value, StoredSignal) for record in records]

    async def asked(self) -> list[UUID]:
        records = await self.requests.of(self.customer.key)
        return [decode(record.value, CaptureRequest).signal_id for record in records]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    await create_local_topics(kafka_bootstrap)
    async with open_publisher(kafka_settings(kafka_bootstrap), "test-release") as publisher:
        yield publisher


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def topics(kafka_bootstrap: str, publisher: Publisher) -> AsyncIterator[tuple[TopicLog, TopicLog]]:  # noqa: ARG001 - makes the topics
    async with (
        open_topic_log(kafka_bootstrap, CAPTURES[Plan.BASIC].name) as requests,
        open_topic_log(kafka_bootstrap, SIGNALS_STORED.name) as announcements,
    ):
        yield requests, announcements


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with pool_of(postgres_url) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def bench(pool: Pool, publisher: Publisher, topics: tuple[TopicLog, TopicLog]) -> Bench:
    await pool.execute("TRUNCATE users, signals, audit_logs, released_signals CASCADE")
    customer = await tenant_with_quota(pool, 2)
    await set_turn(pool, customer, TURN)
    clock, metrics = SystemClock(), create_metrics()
    stage = SignalStage(SignalStore(pool), publisher, metrics, clock)
    return Bench(pool, customer, stage, CaptureSweep(pool, publisher, metrics, clock), *topics)


async def test_the_oldest_are_released_while_quota_remains(bench: Bench) -> None:
    """And no more, until a larger plan has room; then the next ones."""
    await bench.arrive(7)
    assert (await bench.release(), await bench.outcome()) == (0, [STORED] * 2 + [PARKED] * 5)
    await set_quota(bench.pool, bench.customer, 5)
    assert (await bench.release(), await bench.outcome()) == (3, [STORED] * 5 + [PARKED] * 2)
    assert (await bench.release(), await bench.used()) == (0, 5)
    await set_quota(bench.pool, bench.customer, 100)
    assert (await bench.release(), await bench.outcome(), await bench.used()) == (2, [STORED] * 7, 7)
    assert await ParkedSignals(bench.pool, SystemClock()).count(bench.user_id) == 0


@pytest.mark.parametrize(
    ("limit", "mode"),
    [(None, QuotaMode.OFF), (1, QuotaMode.SOFT), (1, QuotaMode.OFF), (None, QuotaMode.STRICT)],
)
async def test_where_no_quota_bounds_the_tenant_all_are_released(
    bench: Bench, limit: int | None, mode: QuotaMode
) -> None:
    """As all would be stored that arrive now."""
    await bench.arrive(6)
    await set_quota(bench.pool, bench.customer, limit, mode)
    assert (await bench.release(), await bench.used()) == (4, 6)
    await bench.arrive(1)
    assert await bench.outcome() == [STORED] * 7


async def test_a_quota_below_what_is_used_releases_nothing(bench: Bench) -> None:
    """After a change to a smaller plan."""
    await bench.arrive(4)
    await set_quota(bench.pool, bench.customer, 1)
    assert (await bench.release(), await bench.used()) == (0, 2)


async def test_what_is_released_counts_in_the_present_month(bench: Bench) -> None:
    """Parked last month, it takes a place of this one, which may have had no signal at all yet."""
    await insert(bench.pool, [signal_at(bench.customer, TURN - DAY) for _ in range(5)])
    [(last, used)] = (await usage(bench.pool, bench.customer)).items()
    assert (used, await bench.release()) == (2, 2)
    assert await usage(bench.pool, bench.customer) == {last: 2, TURN: 2}
    (late,) = await bench.arrive(1)
    assert (await dispositions(bench.pool, bench.customer))[late.signal_id] == PARKED


async def test_two_releases_at_once_release_nothing_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly the quota, whoever comes first."""
    monkeypatch.setattr(quota, "RELEASE_BATCH", 4)
    await bench.arrive(20)
    await set_quota(bench.pool, bench.customer, 15)
    released = await asyncio.gather(*(bench.release() for _ in range(6)))
    assert (sum(released), max(released)) == (13, 4)
    assert (await bench.outcome(), await bench.used()) == ([STORED] * 15 + [PARKED] * 5, 15)
    assert await bench.pool.fetchval("SELECT count(*) FROM released_signals") == 13


async def test_releasing_beside_a_sink_that_runs_keeps_the_quota(bench: Bench) -> None:
    """New ones and old ones take the places that are left; none is taken twice, and nobody fails."""
    await bench.arrive(20)
    for limit in (10, 20, 40):
        await set_quota(bench.pool, bench.customer, limit)
        arriving = [[new_signal(bench.customer) for _ in range(3)] for _ in range(8)]
        await asyncio.gather(
            *(insert(bench.pool, batch) for batch in arriving[::2]),
            *(bench.release() for _ in range(4)),
            *(insert(bench.pool, batch) for batch in arriving[1::2]),
        )
        assert await bench.used() == (await bench.outcome()).count(STORED) <= limit
    while await bench.release():
        pass
    assert await bench.used() == (await bench.outcome()).count(STORED) == 40


async def test_a_released_row_is_announced_anew_with_a_higher_sequence(bench: Bench) -> None:
    """A live reader that has passed its old place learns of it, once."""
    signals = await bench.arrive(4)
    before = await bench.announced()
    assert [stored.disposition for stored in before] == [STORED] * 2 + [PARKED] * 2
    await set_quota(bench.pool, bench.customer, 4)
    await bench.release()
    await bench.sweep.sweep()
    await bench.sweep.sweep()
    after = (await bench.announced())[len(before) :]
    assert [stored.signal_id for stored in after] == [signal.signal_id for signal in signals[2:]]
    assert {stored.disposition for stored in after} == {STORED}
    assert min(stored.sequence for stored in after) > max(stored.sequence for stored in before)
    assert await bench.pool.fetchval("SELECT count(*) FROM released_signals") == 0


async def test_of_released_rows_only_the_young_get_their_pictures(bench: Bench) -> None:
    """One released in time is asked for at once by the sweep; one past its time is stale."""
    old = signal_at(bench.customer, utc_now(SystemClock()) - timedelta(minutes=16))
    await set_quota(bench.pool, bench.customer, 0)
    await insert(bench.pool, [old])
    (young,) = await bench.arrive(1)
    assert await bench.asked() == []
    await set_quota(bench.pool, bench.customer, 2)
    assert await bench.release() == 2
    await bench.sweep.sweep()
    rows = {row["id"]: row for row in await bench.pool.fetch("SELECT * FROM signals")}
    assert rows[old.signal_id]["screenshot_reason"] == "stale"
    assert rows[young.signal_id]["screenshot_status"] == "pending"
    assert await bench.asked() == [young.signal_id]


async def test_a_released_row_that_is_gone_is_forgotten(bench: Bench) -> None:
    """Its retention came before the sweep: nothing to announce, and nothing that stays for ever."""
    await bench.arrive(3)
    await set_quota(bench.pool, bench.customer, 3)
    assert await bench.release() == 1
    await bench.pool.execute("DELETE FROM signals")
    before = await bench.announced()
    await bench.sweep.sweep()
    assert await bench.announced() == before
    assert await bench.pool.fetchval("SELECT count(*) FROM released_signals") == 0


async def test_nothing_but_the_place_of_a_row_changes(bench: Bench) -> None:
    """Not what was parsed, and not what the platform wrote."""
    await bench.arrive(3)
    await bench.pool.execute("UPDATE signals SET result = 'win', profit_loss = 1.5, notes = 'n'")
    before = await all_rows(bench.pool)
    await set_quota(bench.pool, bench.customer, 3)
    assert await bench.release() == 1
    after = await all_rows(bench.pool)
    changed = {name for name in before[2] if before[2][name] != after[2][name]}
    assert changed == {"disposition", "sequence", "updated_at"}
    assert after[:2] == before[:2]


async def all_rows(pool: Pool) -> Sequence[dict[str, Any]]:
    return [dict(row) for row in await pool.fetch("SELECT * FROM signals ORDER BY id")]


async def test_a_user_nobody_knows_has_nothing_to_release(bench: Bench) -> None:
    """The error says so; a deleted user is not known any more."""
    parked = ParkedSignals(bench.pool, SystemClock())
    await bench.pool.execute("UPDATE users SET deleted_at = now()")
    for user_id in (new_user_id(), bench.user_id):
        for question in (parked.count, parked.release):
            with pytest.raises(InvalidError) as caught:
                await question(user_id)
            assert caught.value.reason == "unknown_user"


async def test_more_than_one_transaction_takes_are_released_by_the_command(
    bench: Bench, run: Callable[[str], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on until the quota is used up, and says how many still wait."""
    monkeypatch.setattr(quota, "RELEASE_BATCH", 3)
    await bench.arrive(12)
    await set_quota(bench.pool, bench.customer, 10)
    result = await asyncio.to_thread(run, f"release-parked {bench.user_id}")
    assert (result.exit_code, result.stdout) == (0, "released 8, still parked 2\n")
    assert (await bench.used(), await bench.outcome()) == (10, [STORED] * 10 + [PARKED] * 2)
    again = await asyncio.to_thread(run, f"release-parked {bench.user_id}")
    assert again.stdout == "released 0, still parked 2\n"


async def test_the_command_tells_of_a_user_it_does_not_know(run: Callable[[str], Result]) -> None:
    """By its reason and the id, of which `alerts` makes the message."""
    user_id = new_user_id()
    with pytest.raises(InvalidError, match=f"unknown_user.*{user_id}"):
        await asyncio.to_thread(run, f"release-parked {user_id}")


@pytest.fixture
def run(postgres_url: str) -> Callable[[str], Result]:
    """Call `alerts users <words>`; errors are raised."""

    def call(words: str) -> Result:
        environment = Environment({"DATABASE_URL": postgres_url})
        return CliRunner(catch_exceptions=False).invoke(users_command, words.split(), obj=environment)

    return call
