"""The operations port of a process: `/health` (alive), `/ready` (can work now), `/metrics`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web

from runtime.connections import BareConnection, Connection
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.readiness import Readiness
from runtime.settings import OperationsSettings

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
    connection = Connection if isinstance(app, web.Application) else BareConnection
    try:
        server = await _listen(_connecting(runner, leaving, connection), listener)
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


def _connecting(
    runner: web.BaseRunner, leaving: asyncio.Event, connection: type[Connection]
) -> Callable[[], Connection]:
    loop, server = asyncio.get_running_loop(), runner.server
    if server is None:
        raise RuntimeError("the server is not set up")
    return lambda: connection(server, leaving, loop)


async def _listen(connect: Callable[[], Connection], listener: Listener) -> asyncio.Server:
    loop = asyncio.get_running_loop()
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
