"""`POST /webhook/u/{token}`: from an HTTP request to a durable record and its answer."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ingest.delivery import Fate, KafkaDelivery
from ingest.resend import ResendMemory, resend_key
from ingest.settings import IngestSection
from runtime.backlog import Backlog
from runtime.clock import Clock
from runtime.directory import DirectoryReader
from runtime.errors import TransientError
from runtime.ids import SignalIds, received_at_of, unix_ms_of
from runtime.operations import json_response
from runtime.publisher import Message
from runtime.tokens import token_hash, well_formed
from schemas.headers import (
    WEBHOOK_TYPE,
    CloudEvent,
    WebhookMetadata,
    event_headers,
    traceparent,
    webhook_headers,
)
from schemas.records import Tenant
from schemas.topics import WEBHOOKS_RAW

MAX_BODY_BYTES: Final = 256 * 1024
RETRY_AFTER_S: Final = 5


@dataclass(frozen=True, slots=True)
class WebhookContext:
    """What the handler works with. `span_id` gives 64 random bits."""

    settings: IngestSection
    directory: DirectoryReader
    delivery: KafkaDelivery
    resends: ResendMemory
    ids: SignalIds
    backlog: Backlog
    clock: Clock
    span_id: Callable[[], int]


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """The webhook is not accepted; `error` is what the sender is told."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error

    def response(self) -> web.Response:
        answer = json_response({"success": False, "error": self.error}, self.status)
        if self.status == web.HTTPServiceUnavailable.status_code:
            answer.headers["Retry-After"] = str(RETRY_AFTER_S)
        return answer


class WebhookHandler:
    """Accepts alerts. 200 if and only if Kafka has acked the body."""

    def __init__(self, context: WebhookContext) -> None:
        self._context = context

    async def receive(self, request: web.Request) -> web.Response:
        """Raises `Refusal` for everything that is not accepted."""
        context = self._context
        began_at_s = context.clock.monotonic_s()
        tenant = await self._tenant(request.match_info["token"])
        # One deadline for all that Kafka is asked, or the sender would be gone before the answer.
        ack_deadline_s = context.settings.ack_deadline_s - (context.clock.monotonic_s() - began_at_s)
        if not tenant.webhook_enabled:
            raise Refusal(403, "webhook_disabled")
        body = await read_body(request, context.settings.read_deadline_s)
        signal_id = await self._accept(request, tenant, body, ack_deadline_s)
        return json_response(self._answer(tenant, signal_id))

    async def not_found(self, _request: web.Request) -> web.Response:
        """Any unknown path. Asks what an unknown token asks, so that the two take the same time."""
        with suppress(TransientError):
            await self._context.directory.confirm_current(self._context.settings.ack_deadline_s)
        raise Refusal(404, "not_found")

    async def _tenant(self, token: str) -> Tenant:
        hashed = token_hash(token)
        lookup = self._context.directory.directory.by_token_hash
        if well_formed(token) and (tenant := lookup(hashed)):
            return tenant
        try:
            # A 404 makes the sender drop the alert for good: only say so when no newer tenant can exist.
            await self._context.directory.confirm_current(self._context.settings.ack_deadline_s)
        except TransientError as error:
            raise Refusal(503, "unavailable") from error
        if well_formed(token) and (tenant := lookup(hashed)):
            return tenant
        raise Refusal(404, "not_found")

    async def _accept(self, request: web.Request, tenant: Tenant, body: bytes, ack_deadline_s: float) -> UUID:
        context = self._context
        query = request.rel_url.raw_query_string
        key = resend_key(tenant.user_id, query, body)
        recalled_id = context.resends.recall(key, context.clock.monotonic_s())
        signal_id = recalled_id or context.ids.mint()
        metadata = WebhookMetadata(
            signal_id=signal_id,
            received_at=received_at_of(signal_id),
            client_address=request.remote or "",
            user_agent=request.headers.get("User-Agent", ""),
            content_type=request.headers.get("Content-Type", ""),
            query=query,
            tenant_revision=tenant.revision,
            body_bytes=len(body),
        )
        message = raw_message(tenant, metadata, body, context.span_id())
        fate = await context.delivery.deliver(message, ack_deadline_s)
        if fate is Fate.UNKNOWN or (fate is Fate.REFUSED and recalled_id):
            # Refused this time, but what was handed over the first time may still be written.
            context.resends.remember(key, signal_id, context.clock.monotonic_s())
        if fate is not Fate.ACKED:
            raise Refusal(503, "unavailable")
        return signal_id

    def _answer(self, tenant: Tenant, signal_id: UUID) -> dict[str, object]:
        wait_s = self._context.backlog.estimated_wait_s(tenant.plan) if tenant.captures_enabled else 0
        return {
            "success": True,
            "signal_id": signal_id,
            "screenshot_status": "pending" if tenant.captures_enabled else "skipped",
            "estimated_wait": wait_s,
        }


def raw_message(tenant: Tenant, metadata: WebhookMetadata, body: bytes, span_id: int) -> Message:
    """The record of `webhooks.raw`: the body byte for byte, everything else in headers."""
    event = CloudEvent(
        id=str(metadata.signal_id),
        type=WEBHOOK_TYPE,
        source="ingest",
        time=received_at_of(metadata.signal_id),
        content_type="application/octet-stream",
        traceparent=traceparent(metadata.signal_id, span_id or unix_ms_of(metadata.signal_id)),
    )
    headers = [*event_headers(event), *webhook_headers(metadata)]
    return Message(WEBHOOKS_RAW.name, str(tenant.user_id).encode(), body, headers)


async def read_body(request: web.Request, deadline_s: float) -> bytes:
    """The whole body, whatever its content type.

    Raises `Refusal`: 413 when too large, 503 when too slow or cut short.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise Refusal(413, "body_too_large")
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Refusal(413, "body_too_large")
    except TimeoutError as error:
        raise Refusal(503, "body_too_slow") from error
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise Refusal(503, "body_incomplete") from error
    return bytes(body)
