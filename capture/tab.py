"""One page of the browser, open for one picture."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from capture.connection import FlatSession
from capture.contexts import WarmContext
from capture.errors import BrowserGoneError, CommandError
from capture.outcomes import CaptureFailedError, Outcome
from capture.readiness import BINDING, PROBE, Look, Report, read_look, read_report
from runtime.logging import get_logger

CLOSE_DEADLINE_S: Final = 2.0

_EMPTY: Final = "about:blank"
# What would tell the next page that it is opened in the same tab.
_FORGET: Final = "sessionStorage.clear(); window.name = '';"

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
        self.page = page
        self._plan = plan
        self._session: FlatSession = page._client  # noqa: SLF001 - pyppeteer's own name for raw commands
        self._main_frame: str = page.mainFrame._id  # noqa: SLF001 - likewise
        self._reports: asyncio.Queue[Report | CaptureFailedError] = asyncio.Queue()
        self._script = ""
        self._emptied = asyncio.Event()
        self._listeners: dict[str, Callable[..., None]] = {
            "Runtime.bindingCalled": self._on_binding,
            "Page.javascriptDialogOpening": self._on_dialog,
            "Network.requestWillBeSent": self._on_request,
            "Network.responseReceived": self._on_response,
            "Inspector.targetCrashed": lambda _event: self._fail(Outcome.PAGE_CRASHED),
            "detached": self._on_detached,
        }
        self._listen()

    async def prepare(self, *, is_new: bool = True) -> None:
        """Viewport and script, before the document exists. Not `is_new`: it was left by another."""
        size = {"width": self._plan.width_px, "height": self._plan.height_px}
        commands = [
            self._session.send("Page.addScriptToEvaluateOnNewDocument", {"source": self._plan.script}),
            self._session.send(
                "Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 1, "mobile": False}
            ),
        ]
        if is_new:
            commands += [
                self._session.send("Runtime.addBinding", {"name": BINDING}),
                # a page kept from an earlier visit is the wrong one
                self._session.send("Network.setBypassServiceWorker", {"bypass": True}),
            ]
        self._script = (await asyncio.gather(*commands))[0]["identifier"]

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

    async def leave(self) -> bool:
        """Go from the chart to an empty page, that another `Tab` can be made of. False: close it instead.

        Nothing of the chart runs on, and its sockets are closed; the process behind it stays.
        """
        self._session.on("Page.frameNavigated", self._on_navigated)
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                self._session.tell("Runtime.evaluate", {"expression": _FORGET})
                script = {"identifier": self._script}
                # one after the other: a page that changes meanwhile no longer knows the script
                await self._session.send("Page.removeScriptToEvaluateOnNewDocument", script)
                await self._session.send("Page.navigate", {"url": _EMPTY})
                # the answer comes before the change, and a page cannot be used while it changes
                await self._emptied.wait()
        except (CommandError, TimeoutError):
            return False
        finally:
            self._session.remove_listener("Page.frameNavigated", self._on_navigated)
        for event, listener in self._listeners.items():
            self._session.remove_listener(event, listener)
        return True

    async def close(self) -> None:
        """Raises `TimeoutError` when the browser does not close the page within 2 s."""
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await self.page.close()

    def _listen(self) -> None:
        # pyppeteer's own listeners expect the protocol of its exposeFunction, and would leave dialogs open
        self._session.remove_all_listeners("Runtime.bindingCalled")
        self._session.remove_all_listeners("Page.javascriptDialogOpening")
        # without a listener pyppeteer raises when a page crashes
        self.page.remove_all_listeners("error")
        self.page.on("error", lambda _error: None)
        for event, listener in self._listeners.items():
            self._session.on(event, listener)

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

    def _on_navigated(self, event: dict[str, Any]) -> None:
        if event["frame"]["id"] == self._main_frame and event["frame"]["url"] == _EMPTY:
            self._emptied.set()

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
async def open_tab(context: WarmContext, plan: TabPlan, give_up: Callable[[], None]) -> AsyncIterator[Tab]:
    """A prepared page, closed on exit whatever happens; `give_up` is called when it cannot be closed.

    Of a context that keeps its page it is that one, and is only left when nothing went wrong.
    """
    kept = context.take_page()
    tab = Tab(kept or await context.puppet.newPage(), plan)
    is_left = False
    try:
        await tab.prepare(is_new=kept is None)
        yield tab
        is_left = context.keeps_page and await tab.leave()
    finally:
        if is_left:
            context.keep(tab.page)
        else:
            await _close(tab, give_up)


async def _close(tab: Tab, give_up: Callable[[], None]) -> None:
    try:
        await tab.close()
    except Exception as error:  # noqa: BLE001 - a page that does not close must not hide why
        log.info("page_not_closed", error=type(error).__name__)
        give_up()
