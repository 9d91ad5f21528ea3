import asyncio
from datetime import timedelta

import pytest

from capture.patience import Patience
from capture.progress import Progress
from capture.worker import CaptureWorker, WorkerLimits
from runtime.clock import utc_from_ms
from runtime.errors import FatalError
from schemas.plans import Plan
from schemas.records import CaptureEventKind
from tests.support.capture_parts import (
    Ticket,
    bench,
    capture_request,
    key_of,
    no_waits,
    submit,
    user_id,
    working,
)
from tests.support.clock import START_MS

DRAIN_S = 5


async def test_a_request_is_started_completed_and_done() -> None:
    """The events name signal, picture, session and the time of each phase; the ticket comes last."""
    parts = bench()
    async with working(parts) as worker:
        [ticket] = await submit(worker, capture_request(1))
        await parts.log.until_ended(1)
    started, completed = parts.log.events
    assert (started.kind, completed.kind) == (CaptureEventKind.STARTED, CaptureEventKind.COMPLETED)
    assert completed.signal_ids == [capture_request(1).signal_id]
    assert completed.session_version == 7
    assert completed.reason is None
    assert completed.tries == 1
    assert completed.picture == parts.store.pictures[key_of(capture_request(1).signal_id, 1)]
    assert list(completed.timings_ms) == ["queue", "navigate", "ready", "settle", "shoot", "upload"]
    assert ticket.dones == 1


@pytest.mark.parametrize(("plan", "size"), [(Plan.FREE, (1280, 720)), (Plan.PREMIUM, (1920, 1080))])
async def test_the_size_is_the_plans(plan: Plan, size: tuple[int, int]) -> None:
    """Each plan has its own."""
    parts = bench()
    async with working(parts) as worker:
        await submit(worker, capture_request(1, plan=plan))
        await parts.log.until_ended(1)
    [order] = parts.renderer.orders
    assert (order.width_px, order.height_px) == size


async def test_equal_requests_get_one_picture() -> None:
    """All of their signals are in the event, all of their tickets are done."""
    parts = bench()
    parts.renderer.gate.clear()
    async with working(parts, slots=1) as worker:
        await submit(worker, capture_request(0, user_id=user_id(2)))
        await parts.renderer.begun.until(1)
        same = await submit(worker, *(capture_request(number, ticker="A") for number in (1, 2, 3)))
        parts.renderer.gate.set()
        await parts.log.until_ended(4)
    assert parts.renderer.tickers.count("A") == 1
    assert parts.log.ends[-1].signal_ids == [capture_request(number).signal_id for number in (1, 2, 3)]
    assert [ticket.dones for ticket in same] == [1, 1, 1]


async def test_no_more_captures_at_once_than_slots() -> None:
    """And never two of one user, which the renderer checks."""
    parts = bench()
    parts.renderer.gate.clear()
    async with working(parts, slots=2) as worker:
        await submit(worker, *(capture_request(number, user_id=user_id(number % 4)) for number in range(12)))
        await parts.renderer.begun.until(2)
        parts.renderer.gate.set()
        await parts.log.until_ended(12)
    assert parts.renderer.most_running == 2


async def test_a_stale_request_is_skipped() -> None:
    """A late picture would show the wrong moment."""
    parts = bench()
    parts.renderer.gate.clear()
    late = capture_request(1, capture_by=utc_from_ms(START_MS) + timedelta(seconds=1))
    async with working(parts, slots=1) as worker:
        await submit(worker, capture_request(0, user_id=user_id(2)))
        await parts.renderer.begun.until(1)
        [ticket] = await submit(worker, late)
        parts.clock.move(1.0)
        await submit(worker, capture_request(2))
        await parts.log.until_ended(1)
        parts.renderer.gate.set()
        await parts.log.until_ended(3)
    assert (parts.log.ends[0].kind, parts.log.ends[0].reason) == (CaptureEventKind.SKIPPED, "stale")
    assert ticket.dones == 1
    assert late.ticker not in parts.renderer.tickers


async def test_a_fatal_error_ends_the_run() -> None:
    """What waiting cannot cure reaches whoever runs the worker; nothing is acknowledged."""
    parts = bench()
    parts.sessions.failures = [FatalError("wrong password")]
    worker = CaptureWorker(parts.parts(), WorkerLimits(1, 3, 10), Patience(no_waits))
    [ticket] = await submit(worker, capture_request(1))
    with pytest.raises(FatalError, match="wrong password"):
        await worker.run()
    await worker.drain(1)
    assert ticket.dones == 0


async def test_draining_finishes_what_runs_and_leaves_the_rest() -> None:
    """The capture in its slot completes; what waits is neither told nor acknowledged."""
    parts = bench()
    parts.renderer.gate.clear()
    worker = CaptureWorker(parts.parts(), WorkerLimits(1, 3, 10), Patience(no_waits))
    running = asyncio.create_task(worker.run())
    tickets = await submit(worker, capture_request(1), capture_request(2))
    await parts.renderer.begun.until(1)
    draining = asyncio.create_task(worker.drain(DRAIN_S))
    await asyncio.sleep(0)
    parts.renderer.gate.set()
    await draining
    await running
    assert [ticket.dones for ticket in tickets] == [1, 0]
    assert parts.renderer.tickers == ["BINANCE:SYM1"]


async def test_draining_does_not_wait_for_a_hung_capture() -> None:
    """After the deadline the slots are emptied by force, and nothing of them is acknowledged."""
    parts = bench()
    parts.renderer.gate.clear()
    worker = CaptureWorker(parts.parts(), WorkerLimits(1, 3, 10), Patience(no_waits))
    running = asyncio.create_task(worker.run())
    [ticket] = await submit(worker, capture_request(1))
    await parts.renderer.begun.until(1)
    await worker.drain(0.01)
    await running
    assert ticket.dones == 0
    assert parts.renderer.running == []


async def test_draining_does_not_wait_for_a_dependency_that_is_away() -> None:
    """A slot that only waits for the database is left at once."""
    parts = bench()
    parts.sessions.failures = [ConnectionRefusedError() for _ in range(10_000)]
    async with working(parts) as worker:
        [ticket] = await submit(worker, capture_request(1))
        await parts.sessions.reads.until(3)
    assert ticket.dones == 0


async def test_a_full_worker_takes_the_next_request_when_one_has_ended() -> None:
    """That is the back-pressure towards the topic."""
    parts = bench()
    parts.renderer.gate.clear()
    async with working(parts, slots=1, capacity=1) as worker:
        await submit(worker, capture_request(1))
        await parts.renderer.begun.until(1)
        second = asyncio.create_task(worker.submit(capture_request(2), Ticket()))
        await asyncio.sleep(0)
        assert not second.done()
        parts.renderer.gate.set()
        await second
        await parts.log.until_ended(2)


async def test_requests_that_have_ended_are_never_admitted() -> None:
    """One question for all that come together; those that are over are done without an event."""
    parts = bench()
    requests = [capture_request(number, user_id=user_id(number)) for number in range(1, 21)]
    parts.progress.known = {request.signal_id: Progress(is_final=True) for request in requests[:18]}
    tickets = [Ticket() for _ in requests]
    async with working(parts) as worker:
        await worker.submit_all(list(zip(requests, tickets, strict=True)))
        await parts.log.until_ended(2)
    assert parts.progress.questions == [20, 1, 1]
    assert sorted(parts.renderer.tickers) == [requests[18].ticker, requests[19].ticker]
    assert [ticket.dones for ticket in tickets] == [1] * 20


async def test_admission_waits_for_the_database_and_ends_with_the_worker() -> None:
    """What was not admitted is neither told nor acknowledged."""
    parts = bench()
    parts.progress.failures = [ConnectionRefusedError() for _ in range(100_000)]
    ticket = Ticket()
    async with working(parts) as worker:
        admitting = asyncio.create_task(worker.submit(capture_request(1), ticket))
        await asyncio.sleep(0)
        assert not admitting.done()
    await admitting
    assert (ticket.dones, parts.log.events) == (0, [])


async def test_a_worker_that_never_ran_drains_at_once() -> None:
    """A process may be stopped before it has begun."""
    worker = CaptureWorker(bench().parts(), WorkerLimits(1, 3, 1))
    async with asyncio.timeout(1):
        await worker.drain(10)


async def test_metrics_count_outcomes_and_the_queue() -> None:
    """An operator sees how captures end and how many wait."""
    parts = bench()
    metrics_parts = parts.parts()
    worker = CaptureWorker(metrics_parts, WorkerLimits(1, 3, 10), Patience(no_waits))
    running = asyncio.create_task(worker.run())
    await submit(worker, capture_request(1))
    await parts.log.until_ended(1)
    await worker.drain(DRAIN_S)
    await running
    exposition = metrics_parts.metrics.exposition().decode()
    assert 'alerts_captures_total{outcome="completed"} 1.0' in exposition
    assert 'alerts_capture_queue{plan="pro"} 0.0' in exposition
