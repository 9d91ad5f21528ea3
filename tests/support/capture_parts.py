"""Parts of a capture worker for tests: stand-ins that keep the contracts, and the real site and engine."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from aiohttp import web
from PIL import Image, ImageDraw
from pydantic import SecretStr

from capture.accounts import account_key
from capture.attempt import Studio
from capture.chart import ChartView
from capture.course import WorkerParts
from capture.engine import CaptureOrder, Engine, Shot, open_engine
from capture.lease import Lease, PageOrder
from capture.outcomes import CaptureFailedError, CaptureRefusedError
from capture.patience import Patience
from capture.progress import Progress
from capture.session import TradingViewSession
from capture.settings import CaptureSection, CaptureSettings, ChartSection
from capture.worker import CaptureWorker, WorkerLimits
from deploy.local.chart import sessions
from deploy.local.chart.settings import ChartSiteSettings
from deploy.local.chart.site import create_app
from runtime.clock import Clock, SystemClock, utc_from_ms
from runtime.ids import lowest_id_at
from runtime.metrics import create_metrics
from runtime.settings import (
    EncryptionSettings,
    KafkaSettings,
    LoggingSettings,
    OperationsSettings,
    PostgresSettings,
    StorageWriterSettings,
)
from schemas.plans import Plan
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest, Picture
from tests.support.clock import START_MS, FakeClock

ROOT: Final = Path(__file__).resolve().parents[2]
CHART_LIBRARY: Final = ROOT / ".local/opt/lightweight-charts/lightweight_charts/js"
SITE_SECRET: Final = SecretStr("a secret of the look-alike")
KEY_SECRET: Final = SecretStr("a secret of the picture names")
CHART_ID: Final = "Ab3dE9xZ"

ClockT = TypeVar("ClockT", bound=Clock)


def user_id(number: int) -> UUID:
    return lowest_id_at(number)


def capture_request(number: int, **changes: Any) -> CaptureRequest:
    """Request number `number`, of user 1 on plan pro unless changed. Received at the fake clock's start."""
    values: dict[str, Any] = {
        "signal_id": lowest_id_at(1_000_000 + number),
        "user_id": user_id(1),
        "plan": Plan.PRO,
        "request_no": 1,
        "received_at": utc_from_ms(START_MS),
        "capture_by": utc_from_ms(START_MS) + timedelta(minutes=15),
        "chart_id": CHART_ID,
        "ticker": f"BINANCE:SYM{number}",
        "interval": "5",
    }
    return CaptureRequest(**(values | changes))


def png_of(width_px: int = 64, height_px: int = 36) -> bytes:
    """A picture with something on it."""
    image = Image.new("RGB", (width_px, height_px), "#131722")
    ImageDraw.Draw(image).rectangle((4, 4, width_px // 2, height_px // 2), fill="#26a69a")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def a_session(version: int = 1, sessionid: str = "s" * 32) -> TradingViewSession:
    return TradingViewSession(SecretStr(sessionid), SecretStr("v3:sign"), version)


class Turnstile:
    """Counts passages and lets a test wait for a number of them."""

    def __init__(self) -> None:
        self.count = 0
        self._turned = asyncio.Condition()

    async def turn(self) -> None:
        self.count += 1
        async with self._turned:
            self._turned.notify_all()

    async def until(self, count: int) -> None:
        async with self._turned:
            await self._turned.wait_for(lambda: self.count >= count)


@dataclass
class Ticket:
    """Counts how often it was told that its request is done."""

    dones: int = 0

    def done(self) -> None:
        self.dones += 1


class ScriptedRenderer:
    """Succeeds, or raises what a test has put in line for a ticker. Holds captures while `gate` is closed."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.failures: dict[str, list[Exception]] = {}
        self.orders: list[CaptureOrder] = []
        self.running: list[CaptureOrder] = []
        self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = Turnstile()

    async def capture(self, order: CaptureOrder) -> Shot:
        self.orders.append(order)
        self.running.append(order)
        assert len({running.user_id for running in self.running}) == len(self.running), "a user twice"
        self.most_running = max(self.most_running, len(self.running))
        try:
            await self.begun.turn()
            await self.gate.wait()
            failures = self.failures.get(order.view.ticker, [])
            if failures:
                raise failures.pop(0)
            timings_ms = {"navigate": 1, "ready": 2, "settle": 3, "shoot": 4}
            return Shot(png_of(), self.clock.unix_ms(), timings_ms, None)
        finally:
            self.running.remove(order)

    @property
    def tickers(self) -> list[str]:
        return [order.view.ticker for order in self.orders]


@dataclass
class KnownSessions:
    """A session for everybody, but for those with a refusal; each user's own, unless it is `shared`."""

    refusals: dict[UUID, CaptureRefusedError] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    marked: list[tuple[UUID, int]] = field(default_factory=list)
    version: int = 7
    shared: dict[UUID, str] = field(default_factory=dict)
    reads: Turnstile = field(default_factory=Turnstile)

    async def read(self, user_id: UUID) -> TradingViewSession:
        await self.reads.turn()
        if self.failures:
            raise self.failures.pop(0)
        if user_id in self.refusals:
            raise self.refusals[user_id]
        return a_session(self.version, self.shared.get(user_id, str(user_id)))

    def expired(self, user_id: UUID, version: int) -> None:
        self.marked.append((user_id, version))


@dataclass
class MemoryStore:
    """Pictures in memory, written once."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    failures: list[OSError] = field(default_factory=list)

    async def find(self, key: str) -> Picture | None:
        return self.pictures.get(key)

    async def put(self, key: str, png: bytes, taken_at_ms: int) -> Picture:
        if self.failures:
            raise self.failures.pop(0)
        with Image.open(io.BytesIO(png)) as image:
            width_px, height_px = image.size
        picture = Picture(
            key=key,
            size_bytes=len(png),
            width_px=width_px,
            height_px=height_px,
            captured_at=utc_from_ms(taken_at_ms),
        )
        return self.pictures.setdefault(key, picture)


@dataclass
class MemoryAccounts:
    """Accounts that are always to be had, but for what a test has put in line. One page at a time of each."""

    busy: list[Exception] = field(default_factory=list)
    lost: list[Exception] = field(default_factory=list)
    rest_s: float = 0.0
    begun: list[PageOrder] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    begins: Turnstile = field(default_factory=Turnstile)

    def key_of(self, session: TradingViewSession) -> bytes:
        return account_key(KEY_SECRET, session)

    async def begin(self, order: PageOrder) -> Lease:
        await self.begins.turn()
        if self.busy:
            raise self.busy.pop(0)
        assert order.account not in {lease.account for lease in self.leases if lease.in_use}, "two pages"
        self.begun.append(order)
        self.leases.append(Lease(order.account, len(self.begun), SystemClock(), 3600.0))
        return self.leases[-1]

    async def end(self, lease: Lease, *, keep: bool) -> float:
        lease.in_use = False
        self.kept.append(keep)
        if self.lost:
            raise self.lost.pop(0)
        return self.rest_s


@dataclass
class MemoryProgress:
    """What is known of requests, by signal. `questions` has the size of each."""

    known: dict[UUID, Progress] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)

    async def read(self, requests: Sequence[CaptureRequest]) -> list[Progress]:
        self.questions.append(len(requests))
        if self.failures:
            raise self.failures.pop(0)
        return [self.known.get(request.signal_id, Progress()) for request in requests]


class EventLog:
    """Where events go. `failures` are raised first, one a call."""

    def __init__(self) -> None:
        self.events: list[CaptureEvent] = []
        self.failures: list[Exception] = []
        self.attempts = Turnstile()
        self._grown = asyncio.Condition()

    async def publish(self, event: CaptureEvent) -> None:
        await self.attempts.turn()
        if self.failures:
            raise self.failures.pop(0)
        self.events.append(event)
        async with self._grown:
            self._grown.notify_all()

    async def until(self, check: Callable[[list[CaptureEvent]], bool]) -> None:
        async with self._grown:
            await self._grown.wait_for(lambda: check(self.events))

    async def until_ended(self, count: int) -> None:
        """Until the ends of `count` signals have been told."""
        await self.until(lambda _events: sum(len(event.signal_ids) for event in self.ends) >= count)

    @property
    def ends(self) -> list[CaptureEvent]:
        return [event for event in self.events if event.kind is not CaptureEventKind.STARTED]


@dataclass
class Bench(Generic[ClockT]):
    """A worker's parts, all of them stand-ins."""

    clock: ClockT
    renderer: ScriptedRenderer
    sessions: KnownSessions = field(default_factory=KnownSessions)
    store: MemoryStore = field(default_factory=MemoryStore)
    log: EventLog = field(default_factory=EventLog)
    accounts: MemoryAccounts = field(default_factory=MemoryAccounts)
    progress: MemoryProgress = field(default_factory=MemoryProgress)

    def parts(self, studio: Studio | None = None) -> WorkerParts:
        return WorkerParts(
            studio or self.studio(),
            self.accounts,
            self.progress,
            self.log.publish,
            self.clock,
            create_metrics(),
            lambda: 0.5,
        )

    def studio(self) -> Studio:
        return Studio(self.renderer, self.sessions, self.store, name_of, self.clock)


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
        await worker.drain(10)
        await running


async def submit(worker: CaptureWorker, *requests: CaptureRequest) -> list[Ticket]:
    tickets = [Ticket() for _ in requests]
    for request, ticket in zip(requests, tickets, strict=True):
        await worker.submit(request, ticket)
    return tickets


def key_of(signal_id: UUID, request_no: int) -> str:
    """Where a test puts the picture of a request."""
    return f"tests/{signal_id}-{request_no}.png"


def name_of(request: CaptureRequest) -> str:
    return key_of(request.signal_id, request.request_no)


def no_waits() -> Iterator[float]:
    while True:
        yield 0.001


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The origin of an application on a free port of 127.0.0.1."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def look_alike(**changes: Any) -> web.Application:
    """The chart look-alike, as fast as it gets."""
    values: dict[str, Any] = {"secret": SITE_SECRET, "library": CHART_LIBRARY, "loading_ms": 30}
    return create_app(ChartSiteSettings.model_validate(values | changes))


def signed_in(user: str, version: int = 1) -> TradingViewSession:
    """A session that the look-alike accepts."""
    session = sessions.mint(SITE_SECRET, user, sessions.new_session_id())
    return TradingViewSession(session.sessionid, session.sessionid_sign, version)


def order_of(session: TradingViewSession, number: int = 1, **changes: Any) -> CaptureOrder:
    """A capture of user `number`, small unless changed."""
    view = {"chart_id": CHART_ID, "ticker": "BINANCE:BTCUSDT", "interval": "5"} | changes
    return CaptureOrder(user_id(number), ChartView(**view), 1280, 720, session)


def capture_settings(origin: str, **changes: Any) -> CaptureSettings:
    """Settings of a role whose Kafka, database and storage are never asked."""
    return CaptureSettings(
        capture=CaptureSection.model_validate(changes),
        chart=ChartSection(origin=origin),
        kafka=KafkaSettings.model_validate({"bootstrap": "127.0.0.1:1"}),
        postgres=PostgresSettings.model_validate({"url": "postgresql://127.0.0.1:1/none"}),
        storage=StorageWriterSettings.model_validate({"directory": "/nowhere", "key_secret": KEY_SECRET}),
        encryption=EncryptionSettings(keys=SecretStr("k1:" + "A" * 43 + "=")),
        operations=OperationsSettings.model_validate({}),
        logging=LoggingSettings.model_validate({}),
    )


@asynccontextmanager
async def engine_on(origin: str, browser: Path, **changes: Any) -> AsyncIterator[Engine]:
    settings = capture_settings(origin, browser=browser, **changes)
    async with open_engine(settings, SystemClock()) as engine:
        yield engine


async def outcome_of(work: Awaitable[object]) -> str:
    """The outcome a capture fails with, or `completed`."""
    try:
        await work
    except CaptureFailedError as failure:
        return failure.outcome.value
    return "completed"
