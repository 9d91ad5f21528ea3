"""A whole worker on real parts, but for Kafka and the database: browser, look-alike and files."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from capture.attempt import Studio
from capture.session import TradingViewSession
from capture.storage import PictureFolder
from capture.worker import WorkerLimits
from deploy.local.chart.strip import decode
from runtime.clock import SystemClock, utc_now
from schemas.plans import Plan
from schemas.records import CaptureEventKind, CaptureRequest
from tests.support.capture_pages import browser_of, engine_with
from tests.support.capture_parts import (
    EventLog,
    KnownSessions,
    Ticket,
    capture_request,
    key_of,
    look_alike,
    name_of,
    signed_in,
    user_id,
)
from tests.support.session_life import working

pytestmark = pytest.mark.usefixtures("profiles")

CLOCK = SystemClock()
LIMITS = WorkerLimits(slots=3, tries=3, capacity=1000)


class LookAlikeSessions(KnownSessions):
    """Everybody is signed in to the look-alike under their id."""

    async def read(self, user_id: UUID) -> TradingViewSession:
        await super().read(user_id)
        return signed_in(str(user_id), self.version)


def requests_of(users: int, each: int) -> list[CaptureRequest]:
    now = utc_now(CLOCK)
    return [
        capture_request(
            100 * user + number,
            user_id=user_id(user),
            plan=list(Plan)[user % 4],
            ticker=f"BINANCE:U{user}N{number}",
            received_at=now,
            capture_by=now + timedelta(minutes=15),
        )
        for number in range(each)
        for user in range(1, users + 1)
    ]


async def test_every_request_gets_the_picture_of_its_own_chart(browser_path: Path, tmp_path: Path) -> None:
    """Also when the browser is killed in the midst of it: no try is lost by that."""
    log, store = EventLog(), PictureFolder(tmp_path)
    requests = requests_of(users=3, each=4)
    tickets = [Ticket() for _ in requests]
    async with engine_with(look_alike(), browser_path) as engine:
        studio = Studio(engine, LookAlikeSessions(), store, name_of, CLOCK)
        async with working(studio, log.publish, LIMITS) as worker:
            for request, ticket in zip(requests, tickets, strict=True):
                await worker.submit(request, ticket)
            await log.until_ended(3)
            os.kill(browser_of(engine).process.popen.pid, signal.SIGKILL)
            await log.until_ended(len(requests))
    assert {(event.kind, event.tries) for event in log.ends} == {(CaptureEventKind.COMPLETED, 1)}
    assert [ticket.dones for ticket in tickets] == [1] * len(requests)
    for request in requests:
        shown = decode((tmp_path / key_of(request.signal_id, 1)).read_bytes())
        assert (shown.symbol, shown.interval, shown.user) == (request.ticker, "5", str(request.user_id))


async def test_a_second_delivery_is_answered_from_the_folder(browser_path: Path, tmp_path: Path) -> None:
    """The next worker opens no page for what the last one has stored."""
    [request] = requests_of(users=1, each=1)
    async with engine_with(look_alike(), browser_path) as engine:
        studio = Studio(engine, LookAlikeSessions(), PictureFolder(tmp_path), name_of, CLOCK)
        logs = [EventLog(), EventLog()]
        for log in logs:
            async with working(studio, log.publish, LIMITS) as worker:
                await worker.submit(request, Ticket())
                await log.until_ended(1)
        assert browser_of(engine).captures == 1
    assert logs[0].ends[0].picture == logs[1].ends[0].picture
