"""The records that travel on the topics. Changes inside a version only add optional fields.

Decimals are JSON strings without an exponent, times RFC 3339 in UTC with `Z`, absent values `null`.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from schemas.plans import Plan

SCHEMA_VERSION: Final = 1


class Direction(StrEnum):
    LONG = "long"
    SHORT = "short"
    FLAT = "flat"


class ParseStatus(StrEnum):
    PARSED = "parsed"
    PARTIAL = "partial"
    UNPARSED = "unparsed"


class SourceFormat(StrEnum):
    JSON = "json"
    KEY_VALUE = "key_value"
    LABELLED_TEXT = "labelled_text"
    FREE_TEXT = "free_text"


class Lane(StrEnum):
    MAIN = "main"
    OVERFLOW = "overflow"
    REPLAY = "replay"


class Warning_(StrEnum):  # noqa: N801 - Warning is Python's own
    """What the parser could not take at face value. A closed list (design §7)."""

    AMBIGUOUS_NUMBER = "ambiguous_number"
    CONFLICTING_DIRECTION = "conflicting_direction"
    INVALID_CHART = "invalid_chart"
    INVALID_NUMBER = "invalid_number"
    INVALID_TICKER = "invalid_ticker"
    INVALID_TIME = "invalid_time"
    INVALID_UTF8 = "invalid_utf8"
    MALFORMED_JSON = "malformed_json"
    MULTIPLE_ALERTS = "multiple_alerts"
    NAIVE_TIME = "naive_time"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    REPLACED_CHARACTERS = "replaced_characters"
    TRUNCATED_FIELDS = "truncated_fields"
    TRUNCATED_MESSAGE = "truncated_message"
    UNRESOLVED_PLACEHOLDER = "unresolved_placeholder"


class ScreenshotStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Disposition(StrEnum):
    STORED = "stored"
    PARKED = "parked"


class CaptureEventKind(StrEnum):
    """What a worker reports; `rank` tells which may replace which."""

    STARTED = "started"
    FAILED = "failed"
    SESSION_EXPIRED = "session_expired"
    ACCOUNT_FLAGGED = "account_flagged"
    SKIPPED = "skipped"
    COMPLETED = "completed"

    @property
    def rank(self) -> int:
        """The store applies an event only if its (request_no, rank) is greater than the row's."""
        return _RANKS[self]


_RANKS: Final = {
    CaptureEventKind.STARTED: 1,
    CaptureEventKind.FAILED: 2,
    CaptureEventKind.SKIPPED: 2,
    CaptureEventKind.SESSION_EXPIRED: 2,
    CaptureEventKind.ACCOUNT_FLAGGED: 2,
    CaptureEventKind.COMPLETED: 3,
}


class ExactDecimal(Decimal):
    """A decimal that always reads as digits without an exponent (`0.00000001`, never `1E-8`)."""

    def __str__(self) -> str:
        return format(self, "f")

    def __format__(self, specifier: str, /, *context: Any) -> str:
        # an f-string without a specifier would show the exponent
        return super().__format__(specifier or "f", *context)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records. Unknown fields of newer writers are ignored on read."""


class Source(Record, frozen=True):
    """How a message was read. `parse_revision` grows with the parser and its indicator files."""

    format: SourceFormat
    indicator_file: str | None
    parse_revision: int


class Signal(Record, frozen=True):
    """One accepted alert, normalized. `received_at` is exactly the id's milliseconds."""

    signal_id: UUID
    user_id: UUID
    plan: Plan
    received_at: datetime
    indicator: str | None
    signal_type: str | None
    direction: Direction | None
    ticker: str | None
    exchange: str | None
    symbol: str | None
    delayed: bool
    price: ExactDecimal | None
    interval: str | None
    bar_time: datetime | None
    triggered_at: datetime | None
    chart_id: str | None
    fields: dict[str, str | None]
    message: str
    parse_status: ParseStatus
    warnings: list[Warning_]
    source: Source
    lane: Lane = Lane.MAIN
    replay_id: UUID | None = None


class CaptureRequest(Record, frozen=True):
    """Asks for one picture. Never holds a cookie: the worker reads the session itself."""

    signal_id: UUID
    user_id: UUID
    plan: Plan
    request_no: int
    received_at: datetime
    capture_by: datetime
    chart_id: str
    ticker: str
    interval: str | None


class Picture(Record, frozen=True):
    """A stored picture. `key` is unguessable and names the object in storage, written once."""

    key: str
    size_bytes: int
    width_px: int
    height_px: int
    captured_at: datetime


class CaptureEvent(Record, frozen=True):
    """What became of a request. Served signals are named, since equal charts share one picture."""

    kind: CaptureEventKind
    signal_ids: list[UUID]
    user_id: UUID
    plan: Plan
    request_no: int
    occurred_at: datetime
    tries: int
    fence: int
    session_version: int | None = None
    reason: str | None = None
    warning: str | None = None
    picture: Picture | None = None
    timings_ms: dict[str, int] = {}


class StoredSignal(Record, frozen=True):
    """Published after the commit; live push feeds on it."""

    signal_id: UUID
    user_id: UUID
    disposition: Disposition
    sequence: int


class Tenant(Record, frozen=True):
    """What ingress and processors know of a tenant: hashes, limits and defaults, no secret.

    `token_hashes` are lower-case hex SHA-256 of the tokens now valid. Readers keep the record with the
    highest `revision`; a deleted tenant stays as a record with `deleted`. `allowed_addresses` are CIDR
    networks and names of known senders; empty: any address may send.
    """

    user_id: UUID
    revision: int
    plan: Plan
    token_hashes: list[str]
    webhook_enabled: bool
    captures_enabled: bool
    default_chart_id: str | None = None
    deleted: bool = False
    allowed_addresses: list[str] = []


class RefusedCalls(Record, frozen=True):
    """Webhook calls that were refused alike: one address, one reason, one tenant if the token was right.

    `id` is a UUIDv7 of the moment of `last_at`. Never holds a token, path, query or body.
    """

    id: UUID
    client_address: str
    reason: str
    status: int
    count: int
    first_at: datetime
    last_at: datetime
    user_id: UUID | None = None
