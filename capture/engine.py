"""Takes one picture: opens the user's chart, waits for the right one to have settled, shoots, checks."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from pyppeteer.errors import BrowserError

from capture import cancellation
from capture.browser import BrowserStartError, BrowserSupply, LiveBrowser, Wear
from capture.chart import ChartView, Origin
from capture.contexts import WarmContext, Warmth, session_cookies
from capture.errors import BrowserGoneError, CommandDeadlineError, CommandError, TargetGoneError
from capture.launcher import browser_account
from capture.memory import machine_memory_bytes, memory_budget
from capture.outcomes import CaptureFailedError, Outcome, PictureWarning
from capture.phases import Phase, Phases
from capture.picture import Box, checked_picture
from capture.profile import sweep_profiles
from capture.readiness import Look, Report, readiness_script
from capture.session import TradingViewSession
from capture.settings import CaptureSettings
from capture.site import Site, load_site
from capture.starter import BrowserPlan, BrowserStarter
from capture.tab import Tab, TabPlan, open_tab
from runtime.clock import Clock
from runtime.errors import FatalError
from runtime.logging import get_logger

_TIMEOUTS: Final = {
    Phase.NAVIGATE: Outcome.TIMEOUT_NAVIGATE,
    Phase.READY: Outcome.TIMEOUT_READY,
    Phase.SETTLE: Outcome.TIMEOUT_SETTLE,
    Phase.SHOOT: Outcome.TIMEOUT_SHOOT,
}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CaptureOrder:
    """What to take a picture of, as whom, and how big."""

    user_id: UUID
    view: ChartView
    width_px: int
    height_px: int
    session: TradingViewSession


@dataclass(frozen=True, slots=True)
class Shot:
    """A checked PNG without metadata, taken at `taken_at_ms` (Unix)."""

    png: bytes
    taken_at_ms: int
    timings_ms: dict[str, int]
    warning: PictureWarning | None


@dataclass(frozen=True, slots=True)
class _Exposure:
    """What came out of the page, not yet checked."""

    png: bytes
    pane: Box | None
    taken_at_ms: int
    capped: bool


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What an engine works with."""

    supply: BrowserSupply
    checks: Executor
    site: Site
    origin: Origin
    clock: Clock
    try_deadline_s: float


class Engine:
    """Any number of captures at once, but of one user only one at a time."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts

    async def capture(self, order: CaptureOrder) -> Shot:
        """One try. Raises `CaptureFailedError`, or `BrowserStartError` when no browser comes up.

        Takes no longer than the try's deadline and the few seconds that closing a hung page may need.
        """
        phases = Phases(self._parts.clock)
        try:
            async with asyncio.timeout(self._parts.try_deadline_s):
                return await self._capture(order, phases)
        except asyncio.CancelledError as error:
            if cancellation.is_wanted():
                raise
            raise CaptureFailedError(Outcome.INTERNAL_ERROR, "stray cancellation") from error
        except (TimeoutError, CommandDeadlineError) as error:
            raise CaptureFailedError(_TIMEOUTS[phases.current], " ".join(phases.missing)) from error
        except (BrowserGoneError, BrowserError) as error:
            raise CaptureFailedError(Outcome.BROWSER_CRASHED) from error
        except TargetGoneError as error:
            raise CaptureFailedError(Outcome.PAGE_CRASHED) from error
        except CommandError as error:
            raise CaptureFailedError(Outcome.INTERNAL_ERROR, str(error)) from error

    async def healthy(self) -> bool:
        """Whether a browser is there and answers."""
        return await self._parts.supply.healthy()

    async def _capture(self, order: CaptureOrder, phases: Phases) -> Shot:
        async with self._parts.supply.lease() as browser, self._context(browser, order) as context:
            plan = self._tab_plan(order)
            async with open_tab(context, plan, browser.retire) as tab:
                await tab.navigate(order.view.url(self._parts.origin), self._parts.try_deadline_s)
                taken = await self._expose(tab, order, phases)
            png = await asyncio.get_running_loop().run_in_executor(
                self._parts.checks, checked_picture, taken.png, order.width_px, order.height_px, taken.pane
            )
        warning = PictureWarning.SETTLED_BY_CAP if taken.capped else None
        return Shot(png, taken.taken_at_ms, phases.timings_ms(), warning)

    @asynccontextmanager
    async def _context(self, browser: LiveBrowser, order: CaptureOrder) -> AsyncIterator[WarmContext]:
        """The user's warm context; destroyed unless the capture succeeds: a fault must not stay in it."""
        cookies = session_cookies(order.session, self._parts.origin, self._parts.site)
        contexts = browser.contexts
        context = await contexts.take(order.user_id, order.session.version, cookies)
        try:
            yield context
        except BaseException:
            await contexts.drop(order.user_id)
            raise
        contexts.give_back(order.user_id)

    async def _expose(self, tab: Tab, order: CaptureOrder, phases: Phases) -> _Exposure:
        """Shoot once settled; again if the page changed under the shot."""
        while True:
            capped = await self._until_settled(tab, order, phases)
            phases.enter(Phase.SHOOT)
            taken_at_ms = self._parts.clock.unix_ms()
            png, look = await tab.shoot()
            if look is not None and _shows_what_was_asked(look):
                return _Exposure(png, look.pane, taken_at_ms, capped)

    async def _until_settled(self, tab: Tab, order: CaptureOrder, phases: Phases) -> bool:
        """Follow the page's reports. Returns whether it settled only by the cap."""
        while True:
            report = await tab.next_report()
            match report.kind:
                case "document":
                    self._judge(tab, report, order.view)
                    phases.enter(Phase.READY)
                case "waiting":
                    phases.enter(Phase.READY)
                    phases.missing = report.missing
                case "ready":
                    phases.enter(Phase.SETTLE)
                case "settled":
                    return report.capped
                case "blocked":
                    raise CaptureFailedError(report.outcome or Outcome.INTERNAL_ERROR)

    def _judge(self, tab: Tab, report: Report, view: ChartView) -> None:
        """Whether the page that came is the chart at all. Raises `CaptureFailedError`."""
        status = tab.status or 200
        outcome = report.outcome or self._parts.site.outcome_of_status(status)
        if outcome is None and not report.signed_in:
            outcome = Outcome.SESSION_EXPIRED
        if outcome is None and tab.path.rstrip("/") != view.path.rstrip("/"):
            outcome = Outcome.LAYOUT_NOT_FOUND
        if outcome is not None:
            raise CaptureFailedError(outcome, f"status {status}")

    def _tab_plan(self, order: CaptureOrder) -> TabPlan:
        script = readiness_script(self._parts.site, order.view)
        return TabPlan(order.width_px, order.height_px, script, self._allows)

    def _allows(self, url: str) -> bool:
        parts = urlsplit(url)
        origin, site = self._parts.origin, self._parts.site
        if site.includes(origin):
            return f".{parts.hostname}".endswith(f".{site.domain}")
        return f"{parts.scheme}://{parts.netloc}" == str(origin)


@asynccontextmanager
async def open_engine(settings: CaptureSettings, clock: Clock) -> AsyncIterator[Engine]:
    """An engine, with a browser that is up if one can be started now. Everything of it is gone on exit.

    Sweeps what dead workers have left. Raises `FatalError` for settings that cannot work.
    """
    capture = settings.capture
    if not capture.browser.exists():
        raise FatalError(f"CAPTURE_BROWSER: there is no {capture.browser}")
    site, origin = load_site(capture.site_file), Origin.parse(settings.chart.origin)
    profiles = Path(tempfile.gettempdir())
    swept = await asyncio.to_thread(sweep_profiles, profiles)
    memory = memory_budget(capture.warm_memory_mb, capture.recycle_memory_mb, machine_memory_bytes())
    plan = BrowserPlan(
        executable=capture.browser,
        account=browser_account(capture.browser_user),
        profiles=profiles,
        origin=origin,
        site=site,
        warmth=Warmth(capture.warm_contexts, capture.warm_s, capture.warm_pages, memory.keep_bytes),
    )
    wear = Wear(capture.recycle_captures, capture.recycle_s, memory.recycle_bytes)
    supply = BrowserSupply(BrowserStarter(plan, clock).start, wear)
    log.info(
        "engine_opened", site_version=site.version, real_site=site.includes(origin), profiles_swept=swept
    )
    # each thread that has checked a picture keeps some 10 MB: one is fast enough
    with ThreadPoolExecutor(1, "picture") as checks:
        try:
            await _warm_up(supply)
            yield Engine(EngineParts(supply, checks, site, origin, clock, capture.try_deadline_s))
        finally:
            await supply.close()


async def _warm_up(supply: BrowserSupply) -> None:
    """So that the first picture does not wait. A failure here shows in the readiness of the process."""
    try:
        await supply.healthy()
    except BrowserStartError as error:
        log.error("browser_not_started", detail=str(error))  # noqa: TRY400 - no traceback


def _shows_what_was_asked(look: Look) -> bool:
    if look.outcome is not None:
        raise CaptureFailedError(look.outcome)
    return not look.missing
