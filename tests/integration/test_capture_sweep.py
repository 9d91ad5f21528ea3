"""The sweep on a real database: what is asked for again, what comes too late, what is announced."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from runtime.clock import SystemClock, utc_now
from runtime.metrics import create_metrics
from runtime.postgres import Pool
from schemas.codec import decode
from schemas.plans import Plan
from schemas.records import CaptureEventKind, CaptureRequest, Picture, Signal, StoredSignal
from schemas.topics import SIGNALS_STORED
from sinks import capture_sweep
from sinks.capture_store import CaptureStore
from sinks.capture_sweep import CaptureSweep
from sinks.store import SignalStore
from tests.support.api import pool_of
from tests.support.clock import FakeClock
from tests.support.publisher import MemoryPublisher
from tests.support.quota import insert
from tests.support.relay import Interposed
from tests.support.signals import new_event, new_signal
from tests.support.tenants import Customer, insert_tenant, new_customer
from tests.support.waiting import eventually

LONG_AGO = "6 minutes"
FINAL = ("completed", "failed", "skipped")


@dataclass(frozen=True)
class Bench:
    """A database with one consenting tenant, and a sweep whose messages stay here."""

    pool: Pool
    customer: Customer
    publisher: MemoryPublisher
    sweep: CaptureSweep

    async def stored(self, count: int = 1, **columns: object) -> list[Signal]:
        """Rows as the sink left them before it published, with other values."""
        signals = [new_signal(self.customer) for _ in range(count)]
        await insert(self.pool, signals)
        for column, value in columns.items():
            await self.pool.execute(
                f"UPDATE signals SET {column} = $1 WHERE id = ANY($2)",  # noqa: S608 - literals
                value,
                [signal.signal_id for signal in signals],
            )
        return signals

    async def row(self, signal: Signal) -> Any:
        return await self.pool.fetchrow("SELECT * FROM signals WHERE id = $1", signal.signal_id)

    async def silent(self, ago: str = LONG_AGO) -> None:
        """Nothing has happened to any row for so long."""
        await self.pool.execute(
            "UPDATE signals SET created_at = now() - $1::text::interval,"
            " updated_at = now() - $1::text::interval,"
            " capture_requested_at = capture_requested_at - $1::text::interval",
            ago,
        )

    async def late(self) -> None:
        await self.pool.execute("UPDATE signals SET capture_by = now() - interval '1 second'")

    async def swept(self) -> None:
        while await self.sweep.sweep():
            pass

    def requests(self) -> list[CaptureRequest]:
        return [
            decode(message.value, CaptureRequest)
            for message in self.publisher.messages
            if message.topic.startswith("captures.")
        ]

    def asked(self) -> list[UUID]:
        return [request.signal_id for request in self.requests()]

    def announced(self) -> list[StoredSignal]:
        return [
            decode(message.value, StoredSignal)
            for message in self.publisher.messages
            if message.topic == SIGNALS_STORED.name
        ]


@pytest_asyncio.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with pool_of(database_url) as pool:
        customer = new_customer(Plan.PRO)
        await insert_tenant(pool, customer)
        publisher = MemoryPublisher()
        yield Bench(pool, customer, publisher, sweep_of(pool, publisher))


def sweep_of(pool: Pool, publisher: Any) -> CaptureSweep:
    return CaptureSweep(pool, publisher, create_metrics(), SystemClock())


def ids(signals: Sequence[Signal]) -> list[UUID]:
    return [signal.signal_id for signal in signals]


def completed(signal: Signal) -> Any:
    picture = Picture(
        key=f"{signal.signal_id}.png", size_bytes=1, width_px=1, height_px=1, captured_at=signal.received_at
    )
    return new_event(signal, CaptureEventKind.COMPLETED, picture=picture)


@pytest.mark.parametrize("status", ["pending", "processing"])
async def test_a_silent_capture_is_asked_for_again_under_the_same_number(bench: Bench, status: str) -> None:
    """Whether it was ever asked for or not; the worker that answers the first request answers this one."""
    signals = await bench.stored(2, screenshot_status=status, capture_request_no=3)
    await bench.pool.execute(
        "UPDATE signals SET capture_requested_at = now() WHERE id = $1", signals[0].signal_id
    )
    await bench.silent()
    await bench.swept()
    assert bench.asked() == ids(signals)
    assert {request.request_no for request in bench.requests()} == {3}
    row = await bench.row(signals[0])
    assert (row["screenshot_status"], row["capture_by"]) == (status, bench.requests()[0].capture_by)
    await bench.swept()
    assert len(bench.asked()) == 2


@pytest.mark.parametrize("since", ["created_at", "updated_at", "capture_requested_at"])
async def test_a_capture_that_was_heard_of_lately_is_left_alone(bench: Bench, since: str) -> None:
    """Made, changed or asked for less than 5 min ago."""
    await bench.stored(2)
    await bench.silent("4 minutes" if since == "created_at" else LONG_AGO)
    if since != "created_at":
        await bench.pool.execute(f"UPDATE signals SET {since} = now() - interval '290 seconds'")  # noqa: S608 - a literal
    await bench.swept()
    assert bench.asked() == []


@pytest.mark.parametrize(
    ("status", "disposition"), [(status, "stored") for status in FINAL] + [("pending", "parked")]
)
async def test_a_row_that_has_its_outcome_or_is_parked_is_never_touched(
    bench: Bench, status: str, disposition: str
) -> None:
    """However silent, and also when it would be too late."""
    (signal,) = await bench.stored(screenshot_status=status, screenshot_reason="x", disposition=disposition)
    await bench.silent()
    await bench.swept()
    await bench.late()
    before = await bench.row(signal)
    await bench.swept()
    assert bench.publisher.messages == []
    assert await bench.row(signal) == before


@pytest.mark.parametrize("status", ["pending", "processing"])
async def test_what_would_come_too_late_is_skipped(bench: Bench, status: str) -> None:
    """Asked for lately or silent, it is stale, and nobody is asked."""
    signals = await bench.stored(2, screenshot_status=status)
    await bench.pool.execute("UPDATE signals SET capture_rank = 1 WHERE screenshot_status = 'processing'")
    await bench.silent()
    await bench.pool.execute(
        "UPDATE signals SET capture_requested_at = now() WHERE id = $1", signals[0].signal_id
    )
    await bench.late()
    await bench.swept()
    rows = [await bench.row(signal) for signal in signals]
    assert [(row["screenshot_status"], row["screenshot_reason"]) for row in rows] == [
        ("skipped", "stale")
    ] * 2
    assert bench.asked() == []


async def test_a_late_picture_of_a_stale_request_still_wins(bench: Bench) -> None:
    """And nothing less does: the row does not go back to processing or failed."""
    (signal,) = await bench.stored()
    await bench.late()
    await bench.swept()
    events = CaptureStore(bench.pool)
    await events.apply([new_event(signal, CaptureEventKind.STARTED)])
    await events.apply([new_event(signal, CaptureEventKind.FAILED, reason="late")])
    assert (await bench.row(signal))["screenshot_reason"] == "stale"
    await events.apply([completed(signal)])
    row = await bench.row(signal)
    assert (row["screenshot_status"], row["screenshot_reason"]) == ("completed", None)
    await bench.swept()
    assert (await bench.row(signal))["screenshot_status"] == "completed"


async def test_a_picture_that_comes_while_the_sweep_looks_is_kept(bench: Bench) -> None:
    """The sweep has seen the row pending, and finds it locked by the event that completes it."""
    (signal,) = await bench.stored()
    await bench.late()
    async with bench.pool.acquire() as other:
        async with other.transaction():
            await other.execute("UPDATE signals SET screenshot_status = 'completed', capture_rank = 3")
            sweeping = asyncio.create_task(bench.swept())
            await eventually(lambda: someone_waits(bench.pool))
        await sweeping
    row = await bench.row(signal)
    assert (row["screenshot_status"], row["capture_rank"]) == ("completed", 3)


async def someone_waits(pool: Pool) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
    )


@asynccontextmanager
async def held_sweep(bench: Bench) -> AsyncIterator[Interposed]:
    """A sweep that is publishing until the block ends."""
    held = Interposed(bench.publisher)
    held.go.clear()
    task = asyncio.create_task(sweep_of(bench.pool, held).sweep())
    try:
        async with asyncio.timeout(30):
            await held.held.wait()
        yield held
    finally:
        held.go.set()
        await task


async def test_two_sweeps_at_once_publish_once(bench: Bench) -> None:
    """The second one leaves everything to the first."""
    signals = await bench.stored(3)
    await bench.silent()
    async with held_sweep(bench):
        assert not await bench.sweep.sweep()
        assert bench.asked() == []
    assert bench.asked() == ids(signals)
    await asyncio.gather(*(sweep_of(bench.pool, bench.publisher).sweep() for _ in range(3)))
    assert bench.asked() == ids(signals)


async def test_a_sweep_that_waits_for_the_broker_keeps_no_partition_from_being_made(bench: Bench) -> None:
    """Otherwise a sink could store nothing of a new day meanwhile."""
    await bench.stored()
    await bench.silent()
    async with held_sweep(bench), bench.pool.acquire() as sink:
        day = (utc_now(SystemClock()) + timedelta(days=40)).date()
        made = await sink.fetchval("SELECT ensure_partition('signals'::regclass, $1)", day, timeout=10)
    assert len(made) == 1


async def test_more_rows_than_fit_in_one_go_are_all_dealt_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, without waiting for the next turn."""
    monkeypatch.setattr(capture_sweep, "BATCH", 3)
    silent = await bench.stored(8)
    await bench.silent()
    assert await bench.sweep.sweep()
    assert len(bench.asked()) == 3
    await bench.swept()
    assert bench.asked() == ids(silent)
    await bench.late()
    await bench.swept()
    assert {(await bench.row(signal))["screenshot_reason"] for signal in silent} == {"stale"}


async def test_what_was_not_published_is_not_marked(bench: Bench) -> None:
    """The broker is away: nothing of the sweep is kept, and the next one does it all."""
    (asked,) = await bench.stored()
    await bench.silent()
    (late,) = await bench.stored(capture_by=asked.received_at - timedelta(hours=1))
    bench.publisher.failures.append(TimeoutError())
    with pytest.raises(TimeoutError):
        await bench.sweep.sweep()
    assert (await bench.row(asked))["capture_requested_at"] is None
    assert (await bench.row(late))["screenshot_status"] == "pending"
    await bench.swept()
    assert bench.asked() == [asked.signal_id]
    assert (await bench.row(late))["screenshot_reason"] == "stale"


async def test_the_job_goes_on_after_an_outage(bench: Bench) -> None:
    """It waits its interval and sweeps again."""
    signals = await bench.stored()
    await bench.silent()
    now_ms = SystemClock().unix_ms()
    clock = FakeClock(now_ms)
    bench.publisher.failures.append(TimeoutError())
    job = asyncio.create_task(CaptureSweep(bench.pool, bench.publisher, create_metrics(), clock).run())
    try:
        async with asyncio.timeout(30):
            await clock.until_sleeping()
        assert bench.asked() == []
        await clock.advance(capture_sweep.INTERVAL_S)
        await eventually(lambda: has_asked(bench))
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    assert bench.asked() == ids(signals)


async def has_asked(bench: Bench) -> bool:
    return bool(bench.asked())


async def test_released_rows_are_announced_once_in_their_sequence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when there are more than fit in one go, and again when publishing failed."""
    monkeypatch.setattr(capture_sweep, "BATCH", 2)
    signals = await bench.stored(5)
    await bench.pool.executemany(
        "INSERT INTO released_signals (signal_id) VALUES ($1)",
        [(signal_id,) for signal_id in ids(signals)[::-1]],
    )
    bench.publisher.failures.append(TimeoutError())
    with pytest.raises(TimeoutError):
        await bench.sweep.sweep()
    await bench.swept()
    sequences = [stored.sequence for stored in bench.announced()]
    assert [stored.signal_id for stored in bench.announced()] == ids(signals)
    assert sequences == sorted(sequences)
    assert await bench.pool.fetchval("SELECT count(*) FROM released_signals") == 0


async def test_all_who_change_the_same_rows_at_once_never_block_each_other(bench: Bench) -> None:
    """Two sinks that got the same records, capture events and the sweep, each in an order of its own."""
    chance = random.Random(3)
    signals = await bench.stored(300)
    store, events = SignalStore(bench.pool), CaptureStore(bench.pool)
    for request_no in range(1, 16):
        await bench.silent()
        started = [
            new_event(signal, CaptureEventKind.STARTED, request_no=request_no)
            for signal in chance.sample(signals, 300)
        ]
        await asyncio.gather(
            store.mark_captures_requested(chance.sample(ids(signals), 300)),
            store.mark_captures_requested(ids(signals)[::-1]),
            events.apply(started),
            events.apply(started[::-1]),
            bench.sweep.sweep(),
        )
    assert len(bench.asked()) > 0
