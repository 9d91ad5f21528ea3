"""Which worker rendered what and when: told by the sites they visit and by the events they publish."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest
from tests.support.capture_parts import look_alike, serving
from tests.support.waiting import eventually


@dataclass
class Visits:
    """One look-alike for each worker; `worker_of` names the worker that has opened the chart of a ticker."""

    origins: list[str] = field(default_factory=list)
    worker_of: dict[str, int] = field(default_factory=dict)

    async def until_opened(self, *tickers: str) -> None:
        async def opened() -> bool:
            return self.worker_of.keys() >= set(tickers)

        await eventually(opened)

    def opened_by(self, worker: int) -> list[str]:
        """Tickers in the order of their pages."""
        return [ticker for ticker, visitor in self.worker_of.items() if visitor == worker]


@asynccontextmanager
async def watched_sites(workers: int, loading_ms: int) -> AsyncIterator[Visits]:
    """Their charts take `loading_ms` to get their data."""
    visits = Visits()
    async with AsyncExitStack() as stack:
        for worker in range(workers):
            app = look_alike(loading_ms=loading_ms)
            app.middlewares.append(_watcher(visits, worker))
            visits.origins.append(await stack.enter_async_context(serving(app)))
        yield visits


def _watcher(visits: Visits, worker: int) -> Middleware:
    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/chart/"):
            visits.worker_of.setdefault(request.query["symbol"], worker)
        return await handler(request)

    return watch


@dataclass(frozen=True, slots=True)
class Render:
    """From the first event of a request to its last."""

    ticker: str
    started_at: datetime
    ended_at: datetime

    @property
    def duration_s(self) -> float:
        return (self.ended_at - self.started_at).total_seconds()


class Renders:
    """The renders of requests that have all completed."""

    def __init__(self, requests: Sequence[CaptureRequest], events: Sequence[CaptureEvent]) -> None:
        started, ended = (
            {
                signal_id: event.occurred_at
                for event in events
                if (event.kind is CaptureEventKind.STARTED) == is_start
                for signal_id in event.signal_ids
            }
            for is_start in (True, False)
        )
        self._by_ticker = {
            request.ticker: Render(request.ticker, started[request.signal_id], ended[request.signal_id])
            for request in requests
        }

    @property
    def duration_s(self) -> float:
        """Of the middle one."""
        return median(render.duration_s for render in self._by_ticker.values())

    def wait_s(self, request: CaptureRequest) -> float:
        """From the moment it was asked for."""
        return (self._by_ticker[request.ticker].started_at - request.received_at).total_seconds()

    def passing(self, request: CaptureRequest) -> set[str]:
        """Tickers of renders that began after the request was made and before its own."""
        began = (request.received_at, self._by_ticker[request.ticker].started_at)
        return {
            render.ticker for render in self._by_ticker.values() if began[0] < render.started_at < began[1]
        }
