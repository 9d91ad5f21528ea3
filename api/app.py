"""The API as an aiohttp application."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from api.dependencies import DEPENDENCIES, ApiDependencies
from api.links import PICTURES_PATH
from api.pictures import show_picture
from api.problems import INTERNAL, UNAVAILABLE, RefusedError, problem_of
from api.signals import list_signals, show_signal
from runtime.errors import Failure, classify, reason_of
from runtime.logging import get_logger
from runtime.operations import json_response

REQUEST_DEADLINE_S: Final = 3.5
"""Also with the time asyncpg takes to give up a statement, an answer comes within 5 s."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = get_logger(__name__)


def create_app(dependencies: ApiDependencies) -> web.Application:
    """Routes, and the one place that turns refusals and failures into answers."""
    app = web.Application(middlewares=[_answer])
    app[DEPENDENCIES] = dependencies
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/api/users/{user_id}/signals", list_signals, name="user-signals")
    app.router.add_get("/api/signals/{signal_id}", show_signal, name="signal")
    app.router.add_get(PICTURES_PATH + "{key:.+}", show_picture, name="picture")
    app.router.add_get("/health", _health_handler(dependencies), name="health")
    return app


def _health_handler(dependencies: ApiDependencies) -> Handler:
    started_at_s = dependencies.clock.monotonic_s()

    async def health(_request: web.Request) -> web.Response:
        uptime_s = dependencies.clock.monotonic_s() - started_at_s
        return json_response(dependencies.pipeline_health().answer(uptime_s))

    return health


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    dependencies = request.app[DEPENDENCIES]
    route = request.match_info.route.name or "unmatched"
    began_at_s = dependencies.clock.monotonic_s()
    response = await _respond(request, handler, route)
    dependencies.metrics.api_requests.labels(route, str(response.status)).inc()
    dependencies.metrics.api_seconds.labels(route).observe(dependencies.clock.monotonic_s() - began_at_s)
    return response


async def _respond(request: web.Request, handler: Handler, route: str) -> web.StreamResponse:
    try:
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            return await handler(request)
    except RefusedError as refused:
        return refused.problem.response()
    except web.HTTPException as error:
        return problem_of(error).response()
    except Exception as error:
        if classify(error) is Failure.TRANSIENT:
            log.warning("request_unavailable", route=route, reason=reason_of(error))
            return UNAVAILABLE.response()
        log.exception("request_failed", route=route)
        return INTERNAL.response()


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "alerts"
    response.headers.setdefault("Cache-Control", "no-store")
