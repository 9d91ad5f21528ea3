"""The operations port of a process: `/health` (alive), `/ready` (can work now), `/metrics`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import orjson
from aiohttp import web

from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.readiness import Readiness
from runtime.settings import OperationsSettings

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = get_logger(__name__)


@asynccontextmanager
async def serve_http(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application without access log; yields the port bound. Stops accepting first on exit.

    Raises `OSError` when the port is taken.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=3)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        yield runner.addresses[0][1]
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
