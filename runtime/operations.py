"""The operations port of a process: `/health` (alive), `/ready` (can work now), `/metrics`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.readiness import Readiness
from runtime.settings import OperationsSettings

# A body is kept as it came, also one that calls itself compressed.
_CONNECTION_OPTIONS: Final[dict[str, Any]] = {
    "access_log": None,
    "auto_decompress": False,
    "keepalive_timeout": 75.0,
}
HEAD_DEADLINE_S: Final = 10.0
"""From a connection to the end of its first request's head."""
BACKLOG: Final = 1024
_LINGER_POLL_S: Final = 0.02
_SHUTDOWN_S: Final = 3.0
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BareHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Gets every request as it comes; answers its own errors, and `Expect`."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where an application listens. `fd` is an inherited listening socket, which others may share.

    On exit nothing more is accepted; for `linger_s` connections that are kept alive are still served, each
    told to close, since one closed under a request in flight looks like a failure to its sender.
    """

    host: str
    port: int
    fd: int | None = None
    linger_s: float = 0.0


@asynccontextmanager
async def serve_http(app: web.Application | BareHandler, listener: Listener) -> AsyncIterator[int]:
    """Serve an application or a bare handler without access log; yields the port bound.

    Stops accepting first on exit. Raises `OSError` when the port is taken.
    """
    leaving = asyncio.Event()
    runner = _runner_of(app)
    await runner.setup()
    try:
        server = await _listen(runner, listener, leaving)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            leaving.set()
            server.close()
            await _linger(runner, listener.linger_s)
    finally:
        await runner.cleanup()


def _runner_of(app: web.Application | BareHandler) -> web.BaseRunner:
    if isinstance(app, web.Application):
        return web.AppRunner(app, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    return web.ServerRunner(web.Server(app), handle_signals=False, shutdown_timeout=_SHUTDOWN_S)


async def _listen(runner: web.BaseRunner, listener: Listener, leaving: asyncio.Event) -> asyncio.Server:
    loop, server = asyncio.get_running_loop(), runner.server
    if server is None:
        raise RuntimeError("the server is not set up")

    def connect() -> _Connection:
        return _Connection(server, leaving, loop)

    if listener.fd is None:
        return await loop.create_server(connect, listener.host, listener.port, backlog=BACKLOG)
    return await loop.create_server(connect, sock=socket.socket(fileno=listener.fd), backlog=BACKLOG)


async def _linger(runner: web.BaseRunner, linger_s: float) -> None:
    end_s = asyncio.get_running_loop().time() + linger_s
    while runner.server is not None and runner.server.connections:
        if asyncio.get_running_loop().time() >= end_s:
            return
        await asyncio.sleep(_LINGER_POLL_S)


@asynccontextmanager
async def serve_operations(
    settings: OperationsSettings, readiness: Readiness, metrics: Metrics
) -> AsyncIterator[int]:
    """Serve the operations port; yields the port bound."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/health", _health),
            web.get("/ready", _ready_handler(readiness)),
            web.get("/metrics", _metrics_handler(metrics)),
        ]
    )
    async with serve_http(app, Listener(settings.host, settings.port, settings.listen_fd)) as port:
        log.info("operations_port_open", host=settings.host, port=port)
        yield port


def json_response(body: object, status: int = 200) -> web.Response:
    """Orjson's bytes, never cached."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )


class _Connection(web.RequestHandler):
    """Ends after the answer in progress once the server is leaving, and when its first request is late.

    Answers what it cannot read as HTTP without quoting it: aiohttp's own page shows the request line, and
    with it a webhook token.
    """

    __slots__ = ("_first_due", "_leaving")

    def __init__(self, server: web.Server, leaving: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, **_CONNECTION_OPTIONS)
        self._leaving = leaving
        self._first_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # aiohttp waits for ever for the head of a first request
        loop = asyncio.get_running_loop()
        self._first_due = loop.call_later(HEAD_DEADLINE_S, self._end_unless_busy)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_first_due()
        super().connection_lost(exc)

    def _end_unless_busy(self) -> None:
        if self._current_request is None:
            self.force_close()

    def _forget_first_due(self) -> None:
        if self._first_due is not None:
            self._first_due.cancel()
            self._first_due = None

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self._forget_first_due()
        if self._leaving.is_set():
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return super().handle_error(request, status, exc, "bad request" if message else None)


async def _health(_request: web.Request) -> web.Response:
    return json_response({"status": "ok"})


def _ready_handler(readiness: Readiness) -> Handler:
    async def ready(_request: web.Request) -> web.Response:
        failing = await readiness.problems()
        body = {"status": "unready" if failing else "ready", "failing": failing}
        return json_response(body, 503 if failing else 200)

    return ready


def _metrics_handler(metrics: Metrics) -> Handler:
    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": _METRICS_TYPE})

    return scrape
