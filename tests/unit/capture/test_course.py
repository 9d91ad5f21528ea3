from datetime import timedelta

import pytest

from capture.lease import AccountBusyError, LeaseLostError
from capture.outcomes import CaptureFailedError, CaptureRefusedError, Outcome
from capture.progress import Progress
from runtime.clock import utc_from_ms
from runtime.errors import TransientError
from schemas.records import CaptureEventKind
from tests.support.capture_parts import (
    Bench,
    ScriptedRenderer,
    bench,
    capture_request,
    key_of,
    png_of,
    submit,
    user_id,
    working,
)
from tests.support.clock import START_MS, EagerClock

DRAIN_S = 5


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


async def test_a_try_is_stored_before_its_page() -> None:
    """With all requests that share it; reruns are told apart from tries, and the event carries the fence."""
    parts = bench()
    parts.renderer.gate.clear()
    same = [capture_request(number, ticker="A") for number in (1, 2)]
    parts.renderer.failures["A"] = [
        CaptureFailedError(Outcome.BROWSER_CRASHED),
        CaptureFailedError(Outcome.WRONG_CHART),
    ]
    async with working(parts, slots=1) as worker:
        await submit(worker, capture_request(0, user_id=user_id(2)))
        await parts.renderer.begun.until(1)
        await submit(worker, *same)
        parts.renderer.gate.set()
        await parts.renderer.begun.until(3)
        parts.clock.move(2.0)
        await submit(worker, capture_request(3, user_id=user_id(3)))
        await parts.log.until_ended(4)
    orders = [order for order in parts.accounts.begun if len(order.signal_ids) == 2]
    assert [(order.tries, order.reruns) for order in orders] == [(1, 0), (1, 1), (2, 1)]
    assert all(list(order.signal_ids) == [request.signal_id for request in same] for order in orders)
    [end] = [event for event in parts.log.ends if len(event.signal_ids) == 2]
    leases = [lease for lease in parts.accounts.leases if lease.account == orders[0].account]
    assert (end.kind, end.tries, end.fence) == (CaptureEventKind.COMPLETED, 2, leases[-1].fence)


async def test_stored_tries_count() -> None:
    """What other workers have begun is not begun anew; after the last one there is no page."""
    parts = bench()
    once, thrice = (capture_request(number, user_id=user_id(number)) for number in (1, 2))
    parts.progress.known = {once.signal_id: Progress(tries=2), thrice.signal_id: Progress(tries=3)}
    parts.renderer.failures[once.ticker] = [CaptureFailedError(Outcome.WRONG_CHART)]
    async with working(parts) as worker:
        await submit(worker, once, thrice)
        await parts.log.until_ended(2)
    ends = {event.signal_ids[0]: (event.kind, event.reason, event.tries) for event in parts.log.ends}
    assert ends[once.signal_id] == (CaptureEventKind.FAILED, "wrong_chart", 3)
    assert ends[thrice.signal_id] == (CaptureEventKind.FAILED, "internal_error", 3)
    assert parts.renderer.tickers == [once.ticker]


async def test_what_has_ended_meanwhile_gets_no_page() -> None:
    """Its ticket is done without a word; what shares the job and has not ended is served."""
    parts = bench()
    parts.renderer.gate.clear()
    async with working(parts, slots=1) as worker:
        await submit(worker, capture_request(0, user_id=user_id(2)))
        await parts.renderer.begun.until(1)
        tickets = await submit(worker, *(capture_request(number, ticker="A") for number in (1, 2)))
        parts.progress.known = {capture_request(1).signal_id: Progress(is_final=True)}
        parts.renderer.gate.set()
        await parts.log.until_ended(2)
    assert parts.log.ends[-1].signal_ids == [capture_request(2).signal_id]
    assert [ticket.dones for ticket in tickets] == [1, 1]


async def test_a_busy_account_costs_no_try() -> None:
    """Its request waits outside the slot, for as long as it was told, while others are served."""
    parts = bench()
    parts.accounts.busy = [AccountBusyError(3.0)]
    request = capture_request(1)
    async with working(parts, slots=1) as worker:
        await submit(worker, request)
        await parts.accounts.begins.until(1)
        await submit(worker, capture_request(2, user_id=user_id(2)))
        await parts.log.until_ended(1)
        assert parts.renderer.tickers == ["BINANCE:SYM2"]
        parts.clock.move(3.0)
        await submit(worker, capture_request(3, user_id=user_id(3)))
        await parts.log.until_ended(3)
    [end] = [event for event in parts.log.ends if event.signal_ids == [request.signal_id]]
    assert (end.kind, end.tries) == (CaptureEventKind.COMPLETED, 1)


async def test_users_of_one_account_wait_for_each_other() -> None:
    """Also when that shows only in the slot; the stand-in allows one page of an account."""
    parts = bench()
    users = [user_id(number) for number in range(1, 5)]
    parts.sessions.shared = dict.fromkeys(users, "one and the same")
    async with working(parts) as worker:
        requests = [capture_request(number, user_id=users[number % 4]) for number in range(12)]
        await submit(worker, *requests)
        await parts.log.until_ended(12)
    assert {(event.kind, event.tries) for event in parts.log.ends} == {(CaptureEventKind.COMPLETED, 1)}
    assert parts.renderer.most_running == 1
    assert parts.accounts.kept[0]


async def test_an_account_rests_between_its_pages() -> None:
    """Its next request starts when that time is over."""
    parts = bench()
    parts.accounts.rest_s = 5.0
    async with working(parts) as worker:
        await submit(worker, capture_request(1), capture_request(2))
        await parts.log.until_ended(1)
        await submit(worker, capture_request(3, user_id=user_id(3)))
        await parts.log.until_ended(2)
        assert parts.renderer.tickers == ["BINANCE:SYM1", "BINANCE:SYM3"]
        parts.clock.move(5.0)
        await submit(worker, capture_request(4, user_id=user_id(4)))
        await parts.log.until_ended(4)


@pytest.mark.parametrize(("losses", "kind"), [(3, CaptureEventKind.COMPLETED), (4, CaptureEventKind.FAILED)])
async def test_nothing_is_told_under_a_lost_lease(losses: int, kind: CaptureEventKind) -> None:
    """Whatever became of the page: the request is run again, without using up a try, a few times."""
    parts = bench()
    parts.accounts.lost = [LeaseLostError() for _ in range(losses)]
    request = capture_request(1)
    parts.renderer.failures[request.ticker] = [
        CaptureFailedError(Outcome.LAYOUT_NOT_FOUND) for _ in range(losses)
    ]
    async with working(parts) as worker:
        await submit(worker, request)
        await parts.log.until_ended(1)
    assert [(event.kind, event.tries) for event in parts.log.ends] == [(kind, 1)]


async def test_an_account_with_no_pages_left_is_skipped() -> None:
    """The reason is told, and no try is made."""
    parts = bench()
    parts.accounts.busy = [CaptureRefusedError(Outcome.ACCOUNT_LIMIT)]
    async with working(parts) as worker:
        await submit(worker, capture_request(1))
        await parts.log.until_ended(1)
    assert [(event.kind, event.reason, event.tries) for event in parts.log.events] == [
        (CaptureEventKind.SKIPPED, "account_limit", 0)
    ]


async def test_a_database_that_is_away_costs_no_try() -> None:
    """Whatever it is asked in the course of a capture."""
    parts = bench()
    parts.progress.failures = [ConnectionRefusedError() for _ in range(3)]
    parts.accounts.busy = [ConnectionRefusedError() for _ in range(3)]
    parts.accounts.lost = [ConnectionRefusedError() for _ in range(3)]
    async with working(parts) as worker:
        await submit(worker, capture_request(1))
        await parts.log.until_ended(1)
    assert [(event.kind, event.tries) for event in parts.log.ends] == [(CaptureEventKind.COMPLETED, 1)]
    assert len(parts.renderer.orders) == 1
