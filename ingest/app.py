"""The ingress as an aiohttp application."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from ingest.refusal import Refusal, unavailable
from ingest.webhook import MAX_BODY_BYTES, WebhookContext, WebhookHandler
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.operations import json_response

_WEBHOOK_PATH: Final = "/webhook/u/{token}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = get_logger(__name__)


def create_app(context: WebhookContext, metrics: Metrics) -> web.Application:
    """Routes and the one place that turns refusals into answers. No redirects anywhere."""
    app = web.Application(middlewares=[_answers(context, metrics)], client_max_size=MAX_BODY_BYTES)
    handler = WebhookHandler(context)
    started_at_s = context.clock.monotonic_s()

    async def health(_request: web.Request) -> web.Response:
        uptime_s = context.clock.monotonic_s() - started_at_s
        return json_response(context.backlog.health().answer(uptime_s))

    for path in (_WEBHOOK_PATH, _WEBHOOK_PATH + "/"):
        app.router.add_post(path, handler.receive)
        app.router.add_route("*", path, _method_not_allowed)
    app.router.add_get("/health", health)
    app.router.add_route("*", "/{path:.*}", handler.not_found)
    return app


async def _method_not_allowed(_request: web.Request) -> web.Response:
    raise Refusal(405, "method_not_allowed")


def _answers(context: WebhookContext, metrics: Metrics) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_at_s = context.clock.monotonic_s()
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - every error has an answer
            refusal = _refusal(error)
            address = context.senders.address_of(request)
            context.refusals.note(
                address, refusal.error, refusal.status, refusal.user_id, context.clock.unix_ms()
            )
            response = refusal.response()
        outcome = str(response.status)
        metrics.webhooks.labels(outcome).inc()
        metrics.webhook_seconds.labels(outcome).observe(context.clock.monotonic_s() - began_at_s)
        return response

    return answer


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, web.HTTPException):
        return Refusal(error.status, "bad_request")
    # Whatever happened, the body was not acked: 503 makes the sender come again.
    log.error("webhook_failed", exc_info=error)
    return unavailable()
