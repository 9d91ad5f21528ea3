"""The ingress as an HTTP handler: which call is for whom, and one answer for every error.

aiohttp's low-level server is used without its router and middlewares: there are two paths, and a third of
the time a webhook takes went into finding them.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from ingest.refusal import Refusal, unavailable
from ingest.webhook import WebhookContext, WebhookHandler
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.operations import BareHandler, json_response

Dispatch = Callable[[web.BaseRequest, float], Awaitable[web.StreamResponse]]

_WEBHOOK_PREFIX: Final = "/webhook/u/"

log = get_logger(__name__)


def create_handler(context: WebhookContext, metrics: Metrics) -> BareHandler:
    """Answers everything, errors included. No redirects anywhere."""
    dispatch, answered = _dispatcher(context), _Answered(metrics)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        began_at_s = context.clock.monotonic_s()
        try:
            response = await dispatch(request, began_at_s)
        except Exception as error:  # noqa: BLE001 - every error has an answer
            refusal = _refusal(error)
            address = context.senders.address_of(request)
            context.refusals.note(
                address, refusal.error, refusal.status, refusal.user_id, context.clock.unix_ms()
            )
            response = refusal.response()
        answered[response.status](context.clock.monotonic_s() - began_at_s)
        return response

    return handle


def _dispatcher(context: WebhookContext) -> Dispatch:
    webhooks = WebhookHandler(context)
    started_at_s = context.clock.monotonic_s()

    async def health() -> web.StreamResponse:
        uptime_s = context.clock.monotonic_s() - started_at_s
        return json_response(context.backlog.health().answer(uptime_s))

    def dispatch(request: web.BaseRequest, began_at_s: float) -> Awaitable[web.StreamResponse]:
        path = request.rel_url.raw_path
        token = webhook_token(path)
        if token:
            if request.method != "POST":
                raise Refusal(405, "method_not_allowed")
            return webhooks.receive(request, token, began_at_s)
        if path == "/health" and request.method in {"GET", "HEAD"}:
            return health()
        return webhooks.not_found()

    return dispatch


def webhook_token(path: str) -> str:
    """What stands for a token in the raw path `/webhook/u/{token}`, its escapes undone; empty if nothing.

    A slash may follow. What is returned may be no token at all.
    """
    if not path.startswith(_WEBHOOK_PREFIX):
        return ""
    token = path[len(_WEBHOOK_PREFIX) :].removesuffix("/")
    return "" if "/" in token else unquote(token)


class _Answered(dict[int, Callable[[float], None]]):
    """Counts and times answers by their status. Looking up a metric by its label costs as much as that."""

    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.webhook_seconds

    def __missing__(self, status: int) -> Callable[[float], None]:
        observe = self[status] = self._seconds.labels(str(status)).observe
        return observe


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    # Whatever happened, the body was not acked: 503 makes the sender come again.
    log.error("webhook_failed", exc_info=error)
    return unavailable()
