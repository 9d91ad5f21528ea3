"""The operations port of a process: `/health` (alive), `/ready` (can work now), `/metrics`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from aiohttp import web

from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.readiness import Readiness
from runtime.settings import OperationsSettings

# A body is kept as it came, also one that calls itself compressed.
_CONNECTION_OPTIONS: Final[dict[str, Any]] = {"access_log": None, "auto_decompress": False}
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = get_logger(__name__)


@asynccontextmanager
async def serve_http(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application without access log; yields the port bound. Stops accepting first on exit.

    Raises `OSError` when the port is taken.
    """
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=3)
    await runner.setup()
    try:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: _connection(runner, loop), host, port, backlog=1024)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


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
    async with serve_http(app, settings.host, settings.port) as port:
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
