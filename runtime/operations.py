"""The operations port of a process: `/health` (alive), `/ready` (can work now), `/metrics`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from aiohttp import web

from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.readiness import Readiness
from runtime.settings import OperationsSettings

# A body is kept as it came, also one that calls itself compressed.
_CONNECTION_OPTIONS: Final[dict[str, Any]] = {"access_log": None, "auto_decompress": False}
BACKLOG: Final = 1024
_LINGER_POLL_S: Final = 0.02
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

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
async def serve_http(app: web.Application, listener: Listener) -> AsyncIterator[int]:
    """Serve an application without access log; yields the port bound. Stops accepting first on exit.

    Raises `OSError` when the port is taken.
    """
    leaving = asyncio.Event()
    app.on_response_prepare.append(partial(_close_when, leaving))
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=3)
    await runner.setup()
    try:
        server = await _listen(runner, listener)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            leaving.set()
            server.close()
            await _linger(runner, listener.linger_s)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, listener: Listener) -> asyncio.Server:
    loop = asyncio.get_running_loop()

    def connect() -> _Connection:
        return _connection(runner, loop)

    if listener.fd is None:
        return await loop.create_server(connect, listener.host, listener.port, backlog=BACKLOG)
    return await loop.create_server(connect, sock=socket.socket(fileno=listener.fd), backlog=BACKLOG)


async def _close_when(leaving: asyncio.Event, _request: web.Request, response: web.StreamResponse) -> None:
    if leaving.is_set():
        response.force_close()


async def _linger(runner: web.AppRunner, linger_s: float) -> None:
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
    """Answers what it cannot read as HTTP without quoting it.

    aiohttp's own page shows the request line, and with it a webhook token.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return super().handle_error(request, status, exc, "bad request" if message else None)


def _connection(runner: web.AppRunner, loop: asyncio.AbstractEventLoop) -> _Connection:
    if runner.server is None:
        raise RuntimeError("the server is not set up")
    return _Connection(runner.server, loop=loop, **_CONNECTION_OPTIONS)


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
