import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

import pytest

from capture.outcomes import CaptureFailedError, CaptureRefusedError, Outcome
from capture.patience import Patience
from capture.worker import CaptureWorker, WorkerLimits
from runtime.clock import Clock, utc_from_ms
from runtime.errors import FatalError, TransientError
from schemas.plans import Plan
from schemas.records import CaptureEventKind, CaptureRequest
from tests.support.capture_parts import (
    Bench,
    ScriptedRenderer,
    Ticket,
    capture_request,
    key_of,
    no_waits,
    png_of,
    user_id,
)
from tests.support.clock import START_MS, EagerClock, FakeClock

DRAIN_S = 5

ClockT = TypeVar("ClockT", bound=Clock)


def bench() -> Bench[FakeClock]:
    clock = FakeClock()
    return Bench(clock, ScriptedRenderer(clock))


@asynccontextmanager
async def working(parts: Bench[ClockT], slots: int = 3, capacity: int = 100) -> AsyncIterator[CaptureWorker]:
    worker = CaptureWorker(parts.parts(), WorkerLimits(slots, 3, capacity), Patience(no_waits))
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.drain(DRAIN_S)
        await running


async def submit(worker: CaptureWorker, *requests: CaptureRequest) -> list[Ticket]:
    tickets = [Ticket() for _ in requests]
    for request, ticket in zip(requests, tickets, strict=True):
        await worker.submit(request, ticket)
    return tickets


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


async def test_a_picture_that_exists_is_not_taken_again() -> None:
    """After a crash between storing and telling, the event is made from what is stored."""
    parts = bench()
    request = capture_request(1)
    stored = await parts.store.put(key_of(request.signal_id, 1), png_of(), START_MS + 1000)
    async with working(parts) as worker:
        [ticket] = await submit(worker, request)
        await parts.log.until_ended(1)
    assert parts.renderer.orders == []
    assert [event.picture for event in parts.log.events] == [stored]
    assert parts.log.events[0].tries == 1
    assert ticket.dones == 1


async def test_an_old_picture_does_not_serve_a_later_request() -> None:
    """What shares a job with a request whose picture exists, but was received after it, gets its own."""
    parts = bench()
    parts.renderer.gate.clear()
    early = capture_request(1, ticker="A")
    later = capture_request(2, ticker="A", received_at=utc_from_ms(START_MS) + timedelta(seconds=60))
    await parts.store.put(key_of(early.signal_id, 1), png_of(), START_MS + 1000)
    async with working(parts, slots=1) as worker:
        await submit(worker, capture_request(0, user_id=user_id(2)))
        await parts.renderer.begun.until(1)
        tickets = await submit(worker, early, later)
        parts.renderer.gate.set()
        await parts.log.until_ended(3)
    assert parts.renderer.tickers.count("A") == 1
    assert [event.signal_ids for event in parts.log.ends[1:]] == [[early.signal_id], [later.signal_id]]
    assert [ticket.dones for ticket in tickets] == [1, 1]


async def test_a_passing_failure_is_tried_again_later() -> None:
    """Outside the slot, after about two seconds; the tries are told at the end, the start only once."""
    parts = bench()
    request = capture_request(1)
    parts.renderer.failures[request.ticker] = [CaptureFailedError(Outcome.TIMEOUT_READY)]
    async with working(parts, slots=1) as worker:
        [ticket] = await submit(worker, request)
        await submit(worker, capture_request(2))
        await parts.log.until_ended(1)
        assert ticket.dones == 0
        parts.clock.move(2.0)
        await submit(worker, capture_request(3))
        await parts.log.until_ended(3)
    assert parts.renderer.tickers[:2] == [request.ticker, "BINANCE:SYM2"]
    end = next(event for event in parts.log.ends if event.signal_ids == [request.signal_id])
    assert (end.kind, end.tries) == (CaptureEventKind.COMPLETED, 2)
    assert [event.kind for event in parts.log.events if request.signal_id in event.signal_ids] == [
        CaptureEventKind.STARTED,
        CaptureEventKind.COMPLETED,
    ]


async def test_the_last_try_fails_for_good() -> None:
    """After three tries the event says why, and the ticket is done."""
    parts = bench()
    request = capture_request(1)
    parts.renderer.failures[request.ticker] = [CaptureFailedError(Outcome.WRONG_CHART) for _ in range(3)]
    async with working(parts) as worker:
        [ticket] = await submit(worker, request)
        for number, delay_s in enumerate((2.0, 4.0), start=2):
            # the same user's next request is granted only once the failed one has left its slot
            await submit(worker, capture_request(number))
            await parts.log.until_ended(number - 1)
            parts.clock.move(delay_s)
        await submit(worker, capture_request(4))
        await parts.log.until_ended(4)
    [failed] = [event for event in parts.log.events if event.kind is CaptureEventKind.FAILED]
    assert (failed.reason, failed.tries, ticket.dones) == ("wrong_chart", 3, 1)


async def test_a_final_outcome_is_not_tried_again() -> None:
    """A layout that does not exist will not appear by asking twice."""
    parts = bench()
    request = capture_request(1)
    parts.renderer.failures[request.ticker] = [CaptureFailedError(Outcome.LAYOUT_NOT_FOUND)]
    async with working(parts) as worker:
        await submit(worker, request)
        await parts.log.until_ended(1)
    assert [(event.kind, event.reason) for event in parts.log.ends] == [
        (CaptureEventKind.FAILED, "layout_not_found")
    ]


async def test_a_browser_crash_costs_no_try() -> None:
    """The capture is run again at once, in the same slot."""
    parts = bench()
    request = capture_request(1)
    parts.renderer.failures[request.ticker] = [CaptureFailedError(Outcome.BROWSER_CRASHED) for _ in range(3)]
    async with working(parts) as worker:
        await submit(worker, request)
        await parts.log.until_ended(1)
    assert [(event.kind, event.tries) for event in parts.log.ends] == [(CaptureEventKind.COMPLETED, 1)]
    assert len(parts.renderer.orders) == 4


async def test_a_request_that_crashes_every_browser_fails() -> None:
    """Reruns are bounded, so that a poisonous page cannot keep the slot."""
    parts = bench()
    request = capture_request(1)
    parts.renderer.failures[request.ticker] = [CaptureFailedError(Outcome.BROWSER_CRASHED) for _ in range(9)]
    async with working(parts) as worker:
        await submit(worker, request)
        await parts.log.until_ended(1)
    assert [(event.kind, event.reason) for event in parts.log.ends] == [
        (CaptureEventKind.FAILED, "browser_crashed")
    ]
    assert len(parts.renderer.orders) == 4


async def test_an_expired_session_is_told_and_remembered() -> None:
    """The event carries the version that the site refused, so that a newer one is not marked."""
    parts = bench()
    request = capture_request(1)
    parts.renderer.failures[request.ticker] = [CaptureFailedError(Outcome.SESSION_EXPIRED)]
    async with working(parts) as worker:
        await submit(worker, request)
        await parts.log.until_ended(1)
    [end] = parts.log.ends
    assert (end.kind, end.session_version) == (CaptureEventKind.SESSION_EXPIRED, 7)
    assert parts.sessions.marked == [(request.user_id, 7)]


@pytest.mark.parametrize(
    "outcome",
    [Outcome.NOT_CONSENTED, Outcome.CAPTURES_STOPPED, Outcome.SESSION_MISSING, Outcome.SESSION_EXPIRED],
)
async def test_a_refused_user_is_skipped_without_a_try(outcome: Outcome) -> None:
    """No page is opened, nothing is started, and the reason is told."""
    parts = bench()
    request = capture_request(1)
    parts.sessions.refusals[request.user_id] = CaptureRefusedError(outcome)
    async with working(parts) as worker:
        [ticket] = await submit(worker, request)
        await parts.log.until_ended(1)
    assert [(event.kind, event.reason, event.tries) for event in parts.log.events] == [
        (CaptureEventKind.SKIPPED, outcome.value, 0)
    ]
    assert parts.renderer.orders == []
    assert ticket.dones == 1


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


async def test_an_unusable_request_fails_without_a_page() -> None:
    """Addresses are made from validated parts only."""
    parts = bench()
    async with working(parts) as worker:
        await submit(worker, capture_request(1, chart_id="../../evil"))
        await parts.log.until_ended(1)
    assert [(event.kind, event.reason) for event in parts.log.ends] == [
        (CaptureEventKind.FAILED, "invalid_request")
    ]
    assert parts.renderer.orders == []


async def test_what_is_away_costs_time_but_no_try() -> None:
    """Database, browser start and Kafka come back, and the request completes at its first try."""
    parts = bench()
    request = capture_request(1)
    parts.sessions.failures = [ConnectionRefusedError() for _ in range(5)]
    parts.renderer.failures[request.ticker] = [TransientError("no browser") for _ in range(5)]
    parts.log.failures = [ConnectionResetError() for _ in range(5)]
    async with working(parts) as worker:
        [ticket] = await submit(worker, request)
        await parts.log.until_ended(1)
    assert [(event.kind, event.tries) for event in parts.log.ends] == [(CaptureEventKind.COMPLETED, 1)]
    assert ticket.dones == 1


async def test_a_ticket_is_not_done_before_its_event_is_durable() -> None:
    """While publishing fails, the record stays unacknowledged."""
    parts = bench()
    parts.log.failures = [ConnectionResetError() for _ in range(10_000)]
    async with working(parts) as worker:
        [ticket] = await submit(worker, capture_request(1))
        await parts.log.attempts.until(5)
        assert ticket.dones == 0
    assert ticket.dones == 0


@pytest.mark.parametrize(("refusals", "tries"), [(2, 1), (3, 2)])
async def test_a_store_that_fails_is_asked_again_with_the_same_picture(refusals: int, tries: int) -> None:
    """Three times in one try; then the try is given up as `storage_failed`, and another one follows."""
    clock = EagerClock()
    parts = Bench(clock, ScriptedRenderer(clock))
    request = capture_request(1)
    parts.store.failures = [OSError(28, "No space left on device") for _ in range(refusals)]
    async with working(parts) as worker:
        await submit(worker, request, capture_request(2))
        await parts.log.until_ended(1)
        clock.move(2.0)
        await submit(worker, capture_request(3, user_id=user_id(3)))
        await parts.log.until_ended(3)
    assert parts.renderer.tickers.count(request.ticker) == tries
    [end] = [event for event in parts.log.ends if event.signal_ids == [request.signal_id]]
    assert (end.kind, end.tries) == (CaptureEventKind.COMPLETED, tries)


async def test_a_bug_costs_tries_and_not_the_worker() -> None:
    """The next request is served as if nothing had happened."""
    parts = bench()
    broken, fine = capture_request(1), capture_request(2, user_id=user_id(2))
    parts.renderer.failures[broken.ticker] = [ZeroDivisionError()]
    async with working(parts) as worker:
        await submit(worker, broken, fine)
        await submit(worker, capture_request(4))
        await parts.log.until_ended(2)
        assert broken.signal_id not in [event.signal_ids[0] for event in parts.log.ends]
        parts.clock.move(2.0)
        await submit(worker, capture_request(3, user_id=user_id(3)))
        await parts.log.until_ended(4)
    assert {event.kind for event in parts.log.ends} == {CaptureEventKind.COMPLETED}


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
