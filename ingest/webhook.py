"""`POST /webhook/u/{token}`: from an HTTP request to a durable record and its answer."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn, TypeVar
from uuid import UUID

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from ingest.acceptance import Acceptance
from ingest.answer import Accepted
from ingest.fate import Fate
from ingest.limits import Admission, TenantLimits
from ingest.refusal import Refusal, unavailable
from ingest.refusals import RefusalLedger
from ingest.resend import ResendKey, ResendMemory, resend_key
from ingest.senders import SenderPolicy
from ingest.settings import IngestSection
from runtime.backlog import Backlog
from runtime.clock import Clock
from runtime.clock_guard import ClockGuard
from runtime.directory import DirectoryReader
from runtime.errors import TransientError
from runtime.ids import SignalIds, received_at_of, unix_ms_of
from runtime.publisher import Message
from runtime.tokens import token_hash, well_formed
from schemas.headers import (
    WEBHOOK_TYPE,
    CloudEvent,
    WebhookMetadata,
    alert_headers,
    traceparent,
)
from schemas.records import Tenant
from schemas.topics import WEBHOOKS_OVERFLOW, WEBHOOKS_RAW

_TENANTS: Final = 4096
MAX_BODY_BYTES: Final = 256 * 1024
ANSWER_DEADLINE_S: Final = 2.4
"""From the request to its answer: the sender leaves after 3 s, and the way there and back takes time, too."""


@dataclass(frozen=True, slots=True)
class WebhookContext:
    """What the handler works with. `span_id` gives 64 random bits."""

    settings: IngestSection
    directory: DirectoryReader
    acceptance: Acceptance
    senders: SenderPolicy
    limits: TenantLimits
    refusals: RefusalLedger
    clock_guard: ClockGuard
    resends: ResendMemory
    ids: SignalIds
    backlog: Backlog
    clock: Clock
    span_id: Callable[[], int]


class WebhookHandler:
    """Accepts alerts. 200 if and only if the body is durable."""

    def __init__(self, context: WebhookContext) -> None:
        self._context = context

    async def receive(self, request: web.BaseRequest, token: str, began_at_s: float) -> web.StreamResponse:
        """Raises `Refusal` for everything that is not accepted. `began_at_s` is monotonic."""
        _check_clock(self._context.clock_guard)
        tenant = self._known(token) or await self._confirmed(token)
        try:
            signal_id = await self._receive_from(tenant, request, began_at_s)
        except Refusal as refusal:
            refusal.user_id = tenant.user_id
            raise
        return Accepted(self._answer(tenant, signal_id), unix_ms_of(signal_id) // 1000)

    async def not_found(self) -> NoReturn:
        """Any unknown path. Asks what an unknown token asks, so that the two take the same time."""
        with suppress(TransientError):
            await self._context.directory.confirm_current(self._context.settings.ack_deadline_s)
        raise Refusal(404, "not_found")

    async def _confirmed(self, token: str) -> Tenant:
        """Of a token that is not known yet."""
        try:
            # A 404 makes the sender drop the alert for good: only say so when no newer tenant can exist.
            await self._context.directory.confirm_current(self._context.settings.ack_deadline_s)
        except TransientError as error:
            raise unavailable() from error
        if tenant := self._known(token):
            return tenant
        raise Refusal(404, "not_found")

    def _known(self, token: str) -> Tenant | None:
        # hashed in any case: no token is told from another by the time it takes
        tenant = self._context.directory.directory.by_token_hash(token_hash(token))
        return tenant if well_formed(token) else None

    async def _receive_from(self, tenant: Tenant, request: web.BaseRequest, began_at_s: float) -> UUID:
        context = self._context
        asked_at_s = context.clock.monotonic_s()
        if not tenant.webhook_enabled:
            raise Refusal(403, "webhook_disabled")
        context.senders.check(request, tenant)
        body = _body_at_hand(request)
        if body is None:
            body = await read_body(request, context.settings.read_deadline_s)
        read_at_s = context.clock.monotonic_s()
        admission = context.limits.admit(tenant.user_id, tenant.plan, read_at_s)
        if admission is Admission.REFUSED:
            raise Refusal(429, "too_many_alerts")
        call = _Call(request, tenant, body, admission, context.senders.address_of(request))
        # one deadline for all that Kafka is asked, or the sender would be gone before the answer
        ack_deadline_s = context.settings.ack_deadline_s - (asked_at_s - began_at_s)
        return await self._accept(call, ack_deadline_s, ANSWER_DEADLINE_S - (read_at_s - began_at_s))

    async def _accept(self, call: "_Call", ack_deadline_s: float, answer_deadline_s: float) -> UUID:
        context = self._context
        recalled_id = self._recall(call)
        signal_id = recalled_id or context.ids.mint()
        topic = WEBHOOKS_RAW if call.admission is Admission.MAIN else WEBHOOKS_OVERFLOW
        metadata = call.metadata(signal_id)
        message = raw_message(call.tenant, metadata, call.body, context.span_id(), topic.name)
        fate = await context.acceptance.accept(message, ack_deadline_s, answer_deadline_s)
        if fate is Fate.UNKNOWN or (fate is Fate.REFUSED and recalled_id):
            # Refused this time, but what was handed over the first time may still be written.
            context.resends.remember(call.resend_key, signal_id, context.clock.monotonic_s())
        if not fate.durable:
            raise unavailable()
        return signal_id

    def _recall(self, call: "_Call") -> UUID | None:
        resends = self._context.resends
        # the key is a hash of the whole body
        return resends.recall(call.resend_key, self._context.clock.monotonic_s()) if resends else None

    def _answer(self, tenant: Tenant, signal_id: UUID) -> dict[str, object]:
        wait_s = self._context.backlog.estimated_wait_s(tenant.plan) if tenant.captures_enabled else 0
        return {
            "success": True,
            "signal_id": signal_id,
            "screenshot_status": "pending" if tenant.captures_enabled else "skipped",
            "estimated_wait": wait_s,
        }


class _Call(msgspec.Struct):
    """A webhook that may come in."""

    request: web.BaseRequest
    tenant: Tenant
    body: bytes
    admission: Admission
    client_address: str

    @property
    def query(self) -> str:
        return self.request.rel_url.raw_query_string

    @property
    def resend_key(self) -> ResendKey:
        return resend_key(self.tenant.user_id, self.query, self.body)

    def metadata(self, signal_id: UUID) -> WebhookMetadata:
        headers = self.request.headers
        return WebhookMetadata(
            signal_id=signal_id,
            received_at=received_at_of(signal_id),
            client_address=self.client_address,
            user_agent=headers.get("User-Agent", ""),
            content_type=headers.get("Content-Type", ""),
            query=self.query,
            tenant_revision=self.tenant.revision,
            body_bytes=len(self.body),
        )


def _check_clock(guard: ClockGuard) -> None:
    try:
        guard.check()
    except TransientError as error:
        # an id with a wrong time would put the alert in the wrong place for ever
        raise unavailable() from error


def raw_message(tenant: Tenant, metadata: WebhookMetadata, body: bytes, span_id: int, topic: str) -> Message:
    """The record of a lane's topic: the body byte for byte, everything else in headers."""
    event = CloudEvent(
        id=str(metadata.signal_id),
        type=WEBHOOK_TYPE,
        source="ingest",
        time=metadata.received_at,
        content_type="application/octet-stream",
        traceparent=traceparent(metadata.signal_id, span_id or unix_ms_of(metadata.signal_id)),
    )
    headers = alert_headers(event, metadata)
    return Message(topic, _record_key(tenant.user_id.int), body, headers)


@lru_cache(_TENANTS)
def _record_key(user_id: int) -> bytes:
    # by the integer, which hashes in C
    return str(UUID(int=user_id)).encode()


def _body_at_hand(request: web.BaseRequest) -> bytes | None:
    """The body, which nearly always comes with its head. None: `read_body` must wait or say what is wrong."""
    content = request.content
    return _bounded(content.read_nowait()) if content.is_eof() and content.exception() is None else None


async def read_body(request: web.BaseRequest, deadline_s: float) -> bytes:
    """The whole body, whatever its content type.

    Raises `Refusal`: 413 when too large, 503 when too slow or cut short.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise Refusal(413, "body_too_large")
    try:
        async with asyncio.timeout(deadline_s):
            await _ask_for_body(request)
            body = bytearray()
            async for chunk in request.content.iter_any():
                body += chunk
                _bounded(body)
    except TimeoutError as error:
        raise Refusal(503, "body_too_slow") from error
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise Refusal(503, "body_incomplete") from error
    return bytes(body)


async def _ask_for_body(request: web.BaseRequest) -> None:
    """A client that waits to be asked is asked; any other expectation is one we need not meet."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # counts what was written of the answer, which has not begun
        request.writer.output_size = 0


BodyT = TypeVar("BodyT", bytes, bytearray)


def _bounded(body: BodyT) -> BodyT:
    if len(body) > MAX_BODY_BYTES:
        raise Refusal(413, "body_too_large")
    return body
