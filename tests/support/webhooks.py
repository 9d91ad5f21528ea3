"""Webhooks as the processors get them, without a broker."""

from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from uuid import UUID

from processors.indicators import IndicatorBook, load_indicators
from processors.parse import parse_webhook
from processors.vocabulary import Vocabulary
from schemas.headers import WebhookMetadata
from schemas.plans import Plan
from schemas.records import Lane, Signal, Tenant

SIGNAL_ID = UUID("019cebc1-2345-7000-8000-000000000001")
RECEIVED_AT = datetime(2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC)
TENANT = Tenant(
    user_id=UUID("019ceb00-0000-7000-8000-000000000002"),
    revision=3,
    plan=Plan.PRO,
    token_hashes=[],
    webhook_enabled=True,
    captures_enabled=True,
)


@cache
def shipped_book() -> IndicatorBook:
    return load_indicators(Path(str(resources.files("processors.indicators"))))


def vocabulary() -> Vocabulary:
    """The shipped general vocabulary."""
    return shipped_book().base


def parse(body: str | bytes, query: str = "", tenant: Tenant = TENANT) -> Signal:
    """Parse one body as the processors would. Text is sent as UTF-8."""
    data = body if isinstance(body, bytes) else body.encode()
    metadata = WebhookMetadata(
        SIGNAL_ID, RECEIVED_AT, "127.0.0.1", "agent", "text/plain", query, tenant.revision, len(data)
    )
    return parse_webhook(data, metadata, tenant, Lane.MAIN, shipped_book())
