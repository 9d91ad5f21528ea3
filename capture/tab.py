"""One page of the browser, open for one picture."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from capture.connection import FlatSession
from capture.errors import BrowserGoneError, CommandError
from capture.outcomes import CaptureFailedError, Outcome
from capture.readiness import BINDING, PROBE, Look, Report, read_look, read_report
from runtime.logging import get_logger

CLOSE_DEADLINE_S: Final = 2.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TabPlan:
    """How to open a page. `script` runs before the page's own; `allows` judges hosts of its documents."""

    width_px: int
    height_px: int
    script: str
    allows: Callable[[str], bool]


class Tab:
    """A page and what it reports. Failures are `CommandError`s or `CaptureFailedError`s."""

    def __init__(self, page: Any, plan: TabPlan) -> None:
        self.status: int | None = None
        self.path = ""
        self._page = page
        self._plan = plan
        self._session: FlatSession = page._client  # noqa: SLF001 - pyppeteer's own name for raw commands
        self._main_frame: str = page.mainFrame._id  # noqa: SLF001 - likewise
        self._reports: asyncio.Queue[Report | CaptureFailedError] = asyncio.Queue()
        self._listen()

    async def prepare(self) -> None:
        """Viewport and script, before any document exists."""
        size = {"width": self._plan.width_px, "height": self._plan.height_px}
        script = {"source": self._plan.script}
        await asyncio.gather(
            self._session.send(
                "Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 1, "mobile": False}
            ),
            self._session.send("Runtime.addBinding", {"name": BINDING}),
            self._session.send("Page.addScriptToEvaluateOnNewDocument", script),
            # a page kept from an earlier visit is the wrong one
            self._session.send("Network.setBypassServiceWorker", {"bypass": True}),
        )

    async def navigate(self, url: str, deadline_s: float) -> None:
        """Returns when the site has begun to answer."""
        answer = await self._session.send("Page.navigate", {"url": url}, deadline_s)
        if answer.get("errorText"):
            raise self._failure() or CaptureFailedError(Outcome.SITE_ERROR, answer["errorText"])

    async def next_report(self) -> Report:
        """The next change of state. Raises what ended the page; waits for as long as nothing happens."""
        report = await self._reports.get()
        if isinstance(report, CaptureFailedError):
            raise report
        return report

    async def shoot(self) -> tuple[bytes, Look | None]:
        """The viewport as PNG, and the state of the page right behind it."""
        options = {"format": "png", "optimizeForSpeed": True, "captureBeyondViewport": False}
        probe = {"expression": f"globalThis.{PROBE}?.()", "returnByValue": True}
        picture = self._session.send("Page.captureScreenshot", options)
        look = self._session.send("Runtime.evaluate", probe)
        data = (await picture)["data"]
        found = (await look)["result"].get("value")
        return base64.b64decode(data), read_look(found)

    async def close(self) -> None:
        """Raises `TimeoutError` when the browser does not close the page within 2 s."""
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await self._page.close()

    def _listen(self) -> None:
        # pyppeteer's own listeners expect the protocol of its exposeFunction, and would leave dialogs open
        self._session.remove_all_listeners("Runtime.bindingCalled")
        self._session.remove_all_listeners("Page.javascriptDialogOpening")
        # without a listener pyppeteer raises when a page crashes
        self._page.on("error", lambda _error: None)
        self._session.on("Runtime.bindingCalled", self._on_binding)
        self._session.on("Page.javascriptDialogOpening", self._on_dialog)
        self._session.on("Network.requestWillBeSent", self._on_request)
        self._session.on("Network.responseReceived", self._on_response)
        self._session.on("Inspector.targetCrashed", lambda _event: self._fail(Outcome.PAGE_CRASHED))
        self._session.on("detached", self._on_detached)

    def _on_binding(self, event: dict[str, Any]) -> None:
        if event["name"] == BINDING:
            report = read_report(event["payload"])
            if report is not None:
                self._reports.put_nowait(report)

    def _on_dialog(self, event: dict[str, Any]) -> None:
        # an open dialog blocks navigation and picture alike; the only yes is to leaving a page
        self._session.tell("Page.handleJavaScriptDialog", {"accept": event.get("type") == "beforeunload"})

    def _on_request(self, event: dict[str, Any]) -> None:
        if self._is_document(event) and not self._plan.allows(event["request"]["url"]):
            self._fail(Outcome.OFF_SITE, urlsplit(event["request"]["url"]).hostname or "")

    def _on_response(self, event: dict[str, Any]) -> None:
        if self._is_document(event):
            self.status = event["response"]["status"]
            self.path = urlsplit(event["response"]["url"]).path

    def _is_document(self, event: dict[str, Any]) -> bool:
        return event.get("type") == "Document" and event.get("frameId") == self._main_frame

    def _on_detached(self, gone: type[CommandError]) -> None:
        self._fail(Outcome.BROWSER_CRASHED if gone is BrowserGoneError else Outcome.PAGE_CRASHED)

    def _fail(self, outcome: Outcome, detail: str = "") -> None:
        self._reports.put_nowait(CaptureFailedError(outcome, detail))

    def _failure(self) -> CaptureFailedError | None:
        while not self._reports.empty():
            report = self._reports.get_nowait()
            if isinstance(report, CaptureFailedError):
                return report
        return None


@asynccontextmanager
async def open_tab(context: Any, plan: TabPlan, give_up: Callable[[], None]) -> AsyncIterator[Tab]:
    """A prepared page, closed on exit whatever happens; `give_up` is called when it cannot be closed."""
    tab = Tab(await context.newPage(), plan)
    try:
        await tab.prepare()
        yield tab
    finally:
        try:
            await tab.close()
        except Exception as error:  # noqa: BLE001 - a page that does not close must not hide why
            log.info("page_not_closed", error=type(error).__name__)
            give_up()
