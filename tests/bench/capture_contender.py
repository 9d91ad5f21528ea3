"""Ways to take the pictures of a JSON `Work`: `python -m tests.bench.capture_contender NAME FILE`."""

import asyncio
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pyppeteer
from pydantic import SecretStr

from capture.attempt import Studio
from capture.course import WorkerParts
from capture.engine import open_engine
from capture.session import TradingViewSession
from capture.storage import PictureFolder
from capture.worker import CaptureWorker, WorkerLimits
from runtime.clock import SystemClock, utc_now
from runtime.logging import setup_logging
from runtime.metrics import create_metrics
from runtime.settings import LoggingSettings
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest
from tests.bench.capture_load import Figures, Job, Work
from tests.support.capture_parts import (
    KnownSessions,
    MemoryAccounts,
    MemoryProgress,
    capture_request,
    capture_settings,
    user_id,
)

DEADLINE_S: Final = 60.0
_CLOCK: Final = SystemClock()


class Contender(ABC):
    """Takes one picture and returns when its file is there."""

    phases_ms: dict[str, list[int]]

    @abstractmethod
    async def shoot(self, job: Job) -> None:
        """Raises when there is no picture."""


class Pupil(Contender):
    """pyppeteer as tutorials use it: one browser, a page for each picture, the cookies set on the page."""

    def __init__(self, browser: Any, work: Work, wait_until: str) -> None:
        self.phases_ms = {}
        self._browser = browser
        self._work = work
        self._wait_until = wait_until

    async def shoot(self, job: Job) -> None:
        page = await self._browser.newPage()
        try:
            # the page's policy allows no `eval`, which is how a condition is waited for
            await page.setBypassCSP(True)
            await page.setViewport({"width": self._work.width_px, "height": self._work.height_px})
            cookies = [{"name": name, "value": value, "url": job.url} for name, value in job.cookies.items()]
            await page.setCookie(*cookies)
            await page.goto(job.url, waitUntil=self._wait_until)
            await page.waitForSelector(self._work.selector)
            await page.waitForFunction(job.ready)
            await page.screenshot(path=job.path)
        finally:
            await page.close()


class Beginner(Contender):
    """pyppeteer as its own README has it, with a browser for each picture, but our condition to wait for."""

    def __init__(self, work: Work) -> None:
        self.phases_ms = {}
        self._work = work

    async def shoot(self, job: Job) -> None:
        async with pupil(self._work, "load") as pupil_of_this_job:
            await pupil_of_this_job.shoot(job)


@asynccontextmanager
async def beginner(work: Work) -> AsyncIterator[Contender]:
    yield Beginner(work)


@asynccontextmanager
async def pupil(work: Work, wait_until: str) -> AsyncIterator[Contender]:
    browser = await pyppeteer.launch(
        executablePath=work.browser,
        args=work.flags,
        handleSIGINT=False,
        handleSIGTERM=False,
        handleSIGHUP=False,
        autoClose=False,
    )
    try:
        yield Pupil(browser, work, wait_until)
    finally:
        await browser.close()


class Worker(Contender):
    """A capture worker without Kafka and database: its scheduler, engine and picture folder."""

    def __init__(self, work: Work) -> None:
        self.phases_ms = defaultdict(list)
        self.names: dict[UUID, str] = {}
        self.worker: CaptureWorker | None = None
        self._plan = work.plan
        self._ends: dict[UUID, CaptureEvent] = {}

    async def publish(self, event: CaptureEvent) -> None:
        if event.kind is not CaptureEventKind.STARTED:
            self._ends.update(dict.fromkeys(event.signal_ids, event))

    def name_of(self, request: CaptureRequest) -> str:
        return self.names[request.signal_id]

    async def shoot(self, job: Job) -> None:
        assert self.worker is not None
        now, ticket = utc_now(_CLOCK), _Ticket()
        request = capture_request(
            job.number,
            user_id=user_id(job.user),
            plan=self._plan,
            chart_id=job.chart_id,
            ticker=job.ticker,
            interval=job.interval,
            received_at=now,
            capture_by=now + timedelta(minutes=15),
        )
        self.names[request.signal_id] = Path(job.path).name
        await self.worker.submit(request, ticket)
        await ticket.ended.wait()
        self._note(self._ends.pop(request.signal_id))

    def _note(self, end: CaptureEvent) -> None:
        if end.kind is not CaptureEventKind.COMPLETED:
            raise RuntimeError(f"{end.kind}: {end.reason}")
        for phase, spent_ms in (end.timings_ms or {}).items():
            self.phases_ms[phase].append(spent_ms)


class _Ticket:
    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def done(self) -> None:
        self.ended.set()


class _Sessions(KnownSessions):
    """Each user's own cookies, which came with the jobs."""

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__()
        self._cookies = {user_id(job.user): job.cookies for job in jobs}

    async def read(self, user_id: UUID) -> TradingViewSession:
        cookies = self._cookies[user_id]
        return TradingViewSession(SecretStr(cookies["sessionid"]), SecretStr(cookies["sessionid_sign"]), 1)


@asynccontextmanager
async def ours(work: Work, **changes: int) -> AsyncIterator[Contender]:
    contender = Worker(work)
    settings = capture_settings(work.origin, browser=work.browser, **changes)
    capture, store = settings.capture, PictureFolder(Path(work.jobs[0].path).parent)
    async with open_engine(settings, _CLOCK) as engine:
        sessions = _Sessions([*work.warm_up, *work.jobs])
        parts = WorkerParts(
            Studio(engine, sessions, store, contender.name_of, _CLOCK),
            MemoryAccounts(),
            MemoryProgress(),
            contender.publish,
            _CLOCK,
            create_metrics(),
            lambda: 0.5,
        )
        limits = WorkerLimits(capture.slots, capture.tries, capture.queue_capacity)
        contender.worker = CaptureWorker(parts, limits)
        running = asyncio.create_task(contender.worker.run())
        try:
            yield contender
        finally:
            await contender.worker.drain(10)
            await running


Opening = Callable[[Work], AbstractAsyncContextManager[Contender]]
CONTENDERS: Final[dict[str, Opening]] = {
    "ours": ours,
    "ours, pages closed": partial(ours, warm_pages=0),
    "pyppeteer, networkidle": lambda work: pupil(work, "networkidle0"),
    "pyppeteer, load": lambda work: pupil(work, "load"),
    "pyppeteer, a browser each": beginner,
}


class Course:
    """As many pictures at a time as the work says, until the jobs or the seconds are used up."""

    def __init__(self, contender: Contender, concurrency: int) -> None:
        self._contender = contender
        self._concurrency = concurrency
        self._latencies_ms: dict[int, float] = {}
        self._errors: dict[int, str] = {}

    async def run(self, jobs: list[Job], seconds: float) -> Figures:
        began_s = time.perf_counter()
        waiting = iter(jobs)
        slots = (self._slot(waiting, began_s + seconds) for _ in range(self._concurrency))
        await asyncio.gather(*slots)
        spent_s = time.perf_counter() - began_s
        return Figures(spent_s, self._latencies_ms, self._errors, self._contender.phases_ms)

    async def _slot(self, waiting: Iterator[Job], end_s: float) -> None:
        for job in waiting:
            began_s = time.perf_counter()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._contender.shoot(job)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no picture
                self._errors[job.number] = f"{type(error).__name__}: {error}"[:300]
            else:
                self._latencies_ms[job.number] = (time.perf_counter() - began_s) * 1000
            if time.perf_counter() > end_s:
                return


async def compete(name: str, work: Work) -> None:
    async with CONTENDERS[name](work) as contender:
        warm = await Course(contender, work.concurrency).run(work.warm_up, 600.0)
        contender.phases_ms.clear()
        print("warm", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        figures = await Course(contender, work.concurrency).run(work.jobs, work.seconds)
        print(msgspec.json.encode(figures).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    if warm.errors:
        print(f"warming up failed: {next(iter(warm.errors.values()))}", file=sys.stderr)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    setup_logging(LoggingSettings(level="error", format="auto"), "bench")
    asyncio.run(compete(sys.argv[1], msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Work)))
