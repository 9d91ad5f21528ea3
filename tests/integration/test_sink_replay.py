"""The replay lane on a real database and a real broker: it tells better what a message says, nothing else."""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from msgspec.structs import replace

from runtime.clock import SystemClock, utc_now
from runtime.metrics import create_metrics
from runtime.postgres import Pool
from runtime.publisher import Publisher, open_publisher
from runtime.streams.record import StreamRecord
from schemas.codec import decode
from schemas.headers import webhook_headers
from schemas.plans import PLAN_TERMS, Plan
from schemas.records import (
    CaptureRequest,
    Direction,
    ExactDecimal,
    Lane,
    ParseStatus,
    Signal,
    Source,
    SourceFormat,
    Warning_,
)
from schemas.topics import CAPTURES
from sinks.capture_sweep import CaptureSweep
from sinks.stages import SignalStage
from sinks.store import SignalStore
from tests.support.api import pool_of
from tests.support.quota import miscounted, signal_at, usage
from tests.support.signals import accepted_signal, metadata_of, new_signal, signal_record
from tests.support.tenants import (
    Customer,
    create_local_topics,
    insert_tenant,
    kafka_settings,
    new_customer,
    new_user_id,
)
from tests.support.topiclog import TopicLog, open_topic_log

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLAY = UUID("019a0000-0000-7000-8000-0000000000aa")
TABLES = ("signals", "audit_logs", "user_usage", "screenshots", "signal_screenshots", "users", "user_config")
BETTER: dict[str, Any] = {
    "indicator": "Better",
    "signal_type": "Cross",
    "direction": Direction.SHORT,
    "ticker": "NYSE:BRK.A",
    "exchange": "NYSE",
    "symbol": "BRK.A",
    "delayed": True,
    "price": ExactDecimal("0.00000001"),
    "interval": "60",
    "bar_time": datetime(2026, 1, 2, tzinfo=UTC),
    "triggered_at": datetime(2026, 1, 3, tzinfo=UTC),
    "chart_id": "zZzZzZzZ",
    "fields": {"RSI": "1"},
    "message": "better",
    "parse_status": ParseStatus.PARTIAL,
    "warnings": [Warning_.NAIVE_TIME],
}
OF_SOURCE = {"source_format", "source_indicator_file", "parse_revision"}
"""Each of these has another value than in a plain signal."""

PLATFORM = {
    "result": "win",
    "profit_loss": 12,
    "notes": "kept",
    "screenshot_status": "completed",
    "screenshot_reason": "r",
    "screenshot_warning": "w",
    "capture_request_no": 4,
    "capture_rank": 3,
}


@dataclass(frozen=True)
class Bench:
    """A database with one consenting tenant, a sink of both lanes, and the requests it publishes."""

    pool: Pool
    customer: Customer
    signals: SignalStage
    sweep: CaptureSweep
    requests: TopicLog

    async def row(self, signal: Signal) -> dict[str, Any]:
        row = await self.pool.fetchrow("SELECT * FROM signals WHERE id = $1", signal.signal_id)
        assert row is not None
        return dict(row)

    async def main(self, *signals: Signal) -> None:
        await self.signals.work([signal_record(signal) for signal in signals])

    async def replay(self, *signals: Signal) -> None:
        await self.signals.replay([signal_record(signal) for signal in signals])

    async def asked(self) -> list[CaptureRequest]:
        return [decode(record.value, CaptureRequest) for record in await self.requests.of(self.customer.key)]

    async def dump(self) -> dict[str, Sequence[Any]]:
        """Every row of every table as text, the times of changes aside."""
        apart = "- 'updated_at' - 'capture_requested_at'"
        return {
            table: await self.pool.fetch(f"SELECT (to_jsonb(t) {apart})::text FROM {table} AS t ORDER BY 1")  # noqa: S608 - literals
            for table in TABLES
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    await create_local_topics(kafka_bootstrap)
    async with open_publisher(kafka_settings(kafka_bootstrap), "test-replay") as publisher:
        yield publisher


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def requests(kafka_bootstrap: str, publisher: Publisher) -> AsyncIterator[TopicLog]:  # noqa: ARG001 - makes the topics
    async with open_topic_log(kafka_bootstrap, CAPTURES[Plan.PREMIUM].name) as requests:
        yield requests


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with pool_of(postgres_url) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def bench(pool: Pool, publisher: Publisher, requests: TopicLog) -> Bench:
    await pool.execute("TRUNCATE users, signals, audit_logs, signal_screenshots CASCADE")
    customer = new_customer()
    await insert_tenant(pool, customer)
    clock, metrics = SystemClock(), create_metrics()
    stage = SignalStage(SignalStore(pool), publisher, metrics, clock)
    return Bench(pool, customer, stage, CaptureSweep(pool, publisher, metrics, clock), requests)


def reading(signal: Signal, revision: int, **changes: Any) -> Signal:
    """The same alert, read by a parser of this revision, on the replay lane."""
    source = Source(format=SourceFormat.FREE_TEXT, indicator_file="b.toml", parse_revision=revision)
    values = {"source": source, "lane": Lane.REPLAY, "replay_id": REPLAY, **changes}
    return replace(signal, **values)


def wanted(signal: Signal) -> StreamRecord:
    """Of a replay for whose rows captures were asked for."""
    record = signal_record(signal)
    headers = tuple(webhook_headers(replace(metadata_of(signal), captures_wanted=True)))
    return StreamRecord(record.source, 0, 1, 0, record.key, record.value, headers)


async def write_as_platform(pool: Pool) -> None:
    for column, value in PLATFORM.items():
        await pool.execute(f"UPDATE signals SET {column} = $1", value)  # noqa: S608 - literals


async def test_a_higher_revision_changes_what_was_parsed_and_nothing_else(bench: Bench) -> None:
    """Every parsed column; not the plan, lane or time, not what the platform or the capture wrote."""
    signal = new_signal(bench.customer)
    await bench.main(signal)
    await write_as_platform(bench.pool)
    before = await bench.row(signal)
    await bench.replay(reading(signal, 2, plan=Plan.FREE, **BETTER))
    after = await bench.row(signal)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {*BETTER, *OF_SOURCE, "replay_id", "updated_at"}
    assert {name: after[name] for name in BETTER} == BETTER
    assert (after["parse_revision"], after["source_format"], after["replay_id"]) == (2, "free_text", REPLAY)


@pytest.mark.parametrize("revision", [0, 1])
async def test_a_revision_that_is_not_higher_changes_nothing(bench: Bench, revision: int) -> None:
    """The same parser has nothing new to say, an older one less."""
    signal = new_signal(bench.customer)
    await bench.main(signal)
    before = await bench.dump()
    await bench.replay(reading(signal, revision, **BETTER))
    assert await bench.dump() == before


async def test_of_several_readings_the_highest_stands(bench: Bench) -> None:
    """In whatever order one batch or several bring them."""
    readings = [(2, "two"), (4, "four"), (3, "three")]
    for split in (1, 3):
        signal = new_signal(bench.customer)
        await bench.main(signal)
        batch = [reading(signal, revision, indicator=name) for revision, name in readings]
        for begin in range(0, 3, split):
            await bench.replay(*batch[begin : begin + split])
        row = await bench.row(signal)
        assert (row["indicator"], row["parse_revision"]) == ("four", 4)


async def test_a_row_that_a_replay_stores_first_is_the_highest_of_its_readings(bench: Bench) -> None:
    """Two readings of one alert in the batch that stores it."""
    signal = new_signal(bench.customer)
    await bench.replay(reading(signal, 3, indicator="three"), reading(signal, 2, indicator="two"))
    row = await bench.row(signal)
    assert (row["indicator"], row["parse_revision"]) == ("three", 3)


async def test_the_main_lane_never_overwrites(bench: Bench) -> None:
    """Also when its parser is newer, before and after a replay."""
    signal = new_signal(bench.customer)
    await bench.replay(reading(signal, 2))
    before = await bench.dump()
    await bench.main(replace(reading(signal, 9, **BETTER), lane=Lane.MAIN, replay_id=None))
    assert await bench.dump() == before


async def test_a_row_that_a_replay_stores_first_gets_no_picture(bench: Bench) -> None:
    """A picture of now would show the wrong moment; the row says why there is none."""
    signal = new_signal(bench.customer)
    await bench.replay(reading(signal, 2))
    row = await bench.row(signal)
    assert (row["screenshot_status"], row["screenshot_reason"]) == ("skipped", "replayed")
    assert (row["lane"], row["replay_id"], row["disposition"]) == ("replay", REPLAY, "stored")
    assert await bench.asked() == []
    assert await bench.pool.fetchval("SELECT lane FROM audit_logs") == "replay"
    assert list((await usage(bench.pool, bench.customer)).values()) == [1]


async def test_captures_that_were_asked_for_have_their_time_from_now(bench: Bench) -> None:
    """An alert of yesterday is not stale before it is asked for."""
    yesterday = utc_now(SystemClock()) - timedelta(days=1)
    old = reading(signal_at(bench.customer, yesterday), 2)
    begin = utc_now(SystemClock())
    await bench.signals.replay([wanted(old)])
    within = timedelta(seconds=PLAN_TERMS[Plan.PREMIUM].capture_within_s)
    row = await bench.row(old)
    assert (row["screenshot_status"], row["screenshot_reason"]) == ("pending", None)
    assert begin + within <= row["capture_by"] <= utc_now(SystemClock()) + within
    [request] = await bench.asked()
    assert (request.signal_id, request.capture_by) == (old.signal_id, row["capture_by"])


async def test_captures_that_were_asked_for_change_no_row_that_was_there(bench: Bench) -> None:
    """Only what the replay stores first is meant."""
    signal = new_signal(bench.customer)
    await bench.replay(reading(signal, 2))
    before = await bench.dump()
    await bench.signals.replay([wanted(reading(signal, 2))])
    assert await bench.dump() == before
    assert await bench.asked() == []


async def test_captures_that_were_asked_for_need_consent(bench: Bench) -> None:
    """Of the tenant, as ever."""
    await bench.pool.execute("UPDATE user_config SET captures_consented_at = NULL")
    signal = reading(new_signal(bench.customer), 2)
    await bench.signals.replay([wanted(signal)])
    assert (await bench.row(signal))["screenshot_reason"] == "not_consented"


@pytest.mark.parametrize("known", [True, False])
async def test_a_replay_under_another_users_name_changes_nothing(bench: Bench, *, known: bool) -> None:
    """Neither the row nor anybody's count."""
    signal = new_signal(bench.customer)
    other = new_customer()
    if known:
        await insert_tenant(bench.pool, other)
    await bench.main(signal)
    await bench.pool.execute("UPDATE signals SET screenshot_status = 'completed'")
    before = await bench.dump()
    user_id = other.tenant.user_id if known else new_user_id()
    accepted = reading(signal, 5, user_id=user_id, **BETTER)
    if known:
        await bench.replay(accepted)
    else:
        await bench.signals.store.reparse([accepted_signal(accepted)])
    after = await bench.dump()
    assert {table: after[table] for table in TABLES if table != "user_usage"} == {
        table: before[table] for table in TABLES if table != "user_usage"
    }
    assert list((await usage(bench.pool, bench.customer)).values()) == [1]
    assert set((await usage(bench.pool, other)).values()) <= {0}


@pytest.mark.parametrize("column", ["ticker", "chart_id"])
async def test_what_a_replay_found_no_picture_for_is_not_asked_for_again(bench: Bench, column: str) -> None:
    """A request without a ticker or a chart could not be read: neither the sink nor the sweep makes one."""
    signal = new_signal(bench.customer)
    await bench.main(signal)
    await bench.replay(reading(signal, 2, **{column: None}))
    asked = len(await bench.asked())
    await bench.main(signal)
    await bench.pool.execute("UPDATE signals SET updated_at = now() - interval '6 minutes'")
    await bench.pool.execute("UPDATE signals SET capture_requested_at = now() - interval '6 minutes'")
    await bench.sweep.sweep()
    assert len(await bench.asked()) == asked
    assert (await bench.row(signal))["screenshot_status"] == "pending"


async def test_a_whole_topic_run_again_changes_nothing(bench: Bench) -> None:
    """Both lanes, shuffled into other batches: the tables are as they were, byte for byte."""
    chance = random.Random(5)
    main = [new_signal(bench.customer) for _ in range(20)]
    first = [reading(new_signal(bench.customer), 2) for _ in range(5)]
    replayed = [*first, *(reading(signal, 2, **BETTER) for signal in main[:8])]
    await bench.main(*main)
    await bench.replay(*replayed)
    await bench.pool.execute(
        "UPDATE signals SET screenshot_status = 'completed', capture_rank = 3 WHERE id = ANY($1)",
        [signal.signal_id for signal in main[::3]],
    )
    before = await bench.dump()
    for _ in range(3):
        await bench.main(*chance.sample(main, 12))
        await bench.replay(*chance.sample(replayed, 7))
    await bench.main(*main)
    await bench.replay(*replayed)
    assert await bench.dump() == before
    assert await miscounted(bench.pool) == 0
