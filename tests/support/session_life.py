"""A tenant's session between the worker that uses it and the sink that marks it, on a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from api.tenants import Tenants
from api.users import NewUser
from capture.attempt import Renderer, Studio
from capture.course import Publish, WorkerParts
from capture.session import SessionStore, TradingViewSession
from capture.storage import PictureFolder
from capture.worker import CaptureWorker, WorkerLimits
from deploy.local.chart import sessions
from runtime.clock import SystemClock, utc_now
from runtime.encryption import KeyRing
from runtime.metrics import create_metrics
from runtime.postgres import Pool
from schemas.codec import decode, encode
from schemas.plans import Plan
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest
from sinks.capture_store import CaptureStore
from sinks.store import SignalStore
from tests.support.capture_parts import CHART_ID, MemoryAccounts, MemoryProgress, Ticket, name_of
from tests.support.signals import accepted_signal, signal_of

CLOCK: Final = SystemClock()
RING: Final = KeyRing({"k1": b"k" * 32})


@dataclass
class SessionLife:
    """The database as worker, sink and administration see it. `events` are those that went out."""

    pool: Pool
    folder: Path
    events: list[CaptureEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tenants = Tenants(self.pool, RING, CLOCK)
        self.sink = CaptureStore(self.pool)

    async def customer(self, session: TradingViewSession | None = None) -> UUID:
        """Agrees to captures."""
        created = await self.tenants.create_user(NewUser("ana", Plan.PRO, CHART_ID))
        await self.tenants.set_captures(created.user_id, consented=True)
        if session is not None:
            await self.renew(created.user_id, session)
        return created.user_id

    async def renew(self, user_id: UUID, session: TradingViewSession) -> None:
        await self.tenants.set_session(user_id, session.sessionid, session.sessionid_sign)

    async def alert(self, user_id: UUID, chart_id: str = CHART_ID) -> CaptureRequest:
        """Stored, and the request for its picture."""
        signal = signal_of(user_id, plan=Plan.PRO, chart_id=chart_id)
        await SignalStore(self.pool).insert([accepted_signal(signal)], utc_now(CLOCK))
        return CaptureRequest(
            signal_id=signal.signal_id,
            user_id=user_id,
            plan=Plan.PRO,
            request_no=1,
            received_at=signal.received_at,
            capture_by=signal.received_at + timedelta(minutes=15),
            chart_id=chart_id,
            ticker=str(signal.ticker),
            interval=signal.interval,
        )

    async def publish(self, event: CaptureEvent) -> None:
        """As the sink gets it, at once."""
        self.events.append(event)
        await self.sink.apply([decode(encode(event), CaptureEvent)])

    async def capture(self, renderer: Renderer, *requests: CaptureRequest) -> None:
        """Until they have ended. By a worker that remembers nothing of those before it."""
        store = SessionStore(self.pool, RING)
        studio = Studio(renderer, store, PictureFolder(self.folder), name_of, CLOCK)
        async with working(studio, self.publish, WorkerLimits(slots=1, tries=3, capacity=10)) as worker:
            ended = [_Ended() for _request in requests]
            for request, ticket in zip(requests, ended, strict=True):
                await worker.submit(request, ticket)
            for ticket in ended:
                await ticket.event.wait()

    async def outcome(self, request: CaptureRequest) -> tuple[str, str | None]:
        """Status and reason in the row."""
        row = await self.pool.fetchrow(
            "SELECT screenshot_status, screenshot_reason FROM signals WHERE id = $1", request.signal_id
        )
        assert row is not None
        return row["screenshot_status"], row["screenshot_reason"]

    async def config(self, user_id: UUID) -> Any:
        return await self.pool.fetchrow(
            "SELECT config.*, revision FROM user_config AS config JOIN users ON id = user_id WHERE id = $1",
            user_id,
        )

    @property
    def kinds(self) -> list[CaptureEventKind]:
        """Of the ends that went out."""
        return [event.kind for event in self.events if event.kind is not CaptureEventKind.STARTED]


@asynccontextmanager
async def working(studio: Studio, publish: Publish, limits: WorkerLimits) -> AsyncIterator[CaptureWorker]:
    """A worker that nobody shares accounts with; drained on exit."""
    parts = WorkerParts(
        studio, MemoryAccounts(), MemoryProgress(), publish, CLOCK, create_metrics(), lambda: 0.5
    )
    worker = CaptureWorker(parts, limits)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.drain(10)
        await running


def refused_session() -> TradingViewSession:
    """Well-formed cookies that the look-alike has never given out."""
    minted = sessions.mint(SecretStr("another site's secret"), "ana", sessions.new_session_id())
    return TradingViewSession(minted.sessionid, minted.sessionid_sign, 1)


class _Ended(Ticket):
    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def done(self) -> None:
        super().done()
        self.event.set()
