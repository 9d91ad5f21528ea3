"""What can become of a capture, and the one table that says what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from runtime.errors import AlertsError
from schemas.records import CaptureEventKind


class Outcome(StrEnum):
    """A closed list; the value is the `reason` of the event and of the row."""

    COMPLETED = "completed"
    DEGRADED = "degraded"
    SESSION_EXPIRED = "session_expired"
    ACCOUNT_FLAGGED = "account_flagged"
    CAPTCHA = "captcha"
    LAYOUT_NOT_FOUND = "layout_not_found"
    SYMBOL_UNKNOWN = "symbol_unknown"
    ACCESS_DENIED = "access_denied"
    INVALID_REQUEST = "invalid_request"
    OFF_SITE = "off_site"
    RATE_LIMITED = "rate_limited"
    CONNECTION_LIMIT = "connection_limit"
    SITE_ERROR = "site_error"
    WRONG_CHART = "wrong_chart"
    BLANK_PICTURE = "blank_picture"
    TIMEOUT_NAVIGATE = "timeout_navigate"
    TIMEOUT_READY = "timeout_ready"
    TIMEOUT_SETTLE = "timeout_settle"
    TIMEOUT_SHOOT = "timeout_shoot"
    PAGE_CRASHED = "page_crashed"
    BROWSER_CRASHED = "browser_crashed"
    STORAGE_FAILED = "storage_failed"
    INTERNAL_ERROR = "internal_error"
    STALE = "stale"
    ACCOUNT_LIMIT = "account_limit"
    NOT_CONSENTED = "not_consented"
    CAPTURES_STOPPED = "captures_stopped"
    SESSION_MISSING = "session_missing"
    SESSION_UNREADABLE = "session_unreadable"


class After(StrEnum):
    """What the worker does next. A rerun is a fault of ours and uses up none of the user's tries."""

    FINISH = "finish"
    RETRY = "retry"
    RERUN = "rerun"


@dataclass(frozen=True, slots=True)
class Rule:
    """`event` tells of the end: at once after `FINISH`, else when no try or rerun is left."""

    after: After
    event: CaptureEventKind


_DONE: Final = Rule(After.FINISH, CaptureEventKind.COMPLETED)
_FINAL: Final = Rule(After.FINISH, CaptureEventKind.FAILED)
_REFUSED: Final = Rule(After.FINISH, CaptureEventKind.SKIPPED)
_RETRIED: Final = Rule(After.RETRY, CaptureEventKind.FAILED)

RULES: Final[Mapping[Outcome, Rule]] = MappingProxyType(
    {
        Outcome.COMPLETED: _DONE,
        Outcome.DEGRADED: _DONE,
        Outcome.SESSION_EXPIRED: Rule(After.FINISH, CaptureEventKind.SESSION_EXPIRED),
        Outcome.ACCOUNT_FLAGGED: Rule(After.FINISH, CaptureEventKind.ACCOUNT_FLAGGED),
        Outcome.CAPTCHA: _FINAL,
        Outcome.LAYOUT_NOT_FOUND: _FINAL,
        Outcome.SYMBOL_UNKNOWN: _FINAL,
        Outcome.ACCESS_DENIED: _FINAL,
        Outcome.INVALID_REQUEST: _FINAL,
        Outcome.OFF_SITE: _FINAL,
        Outcome.RATE_LIMITED: _RETRIED,
        Outcome.CONNECTION_LIMIT: _RETRIED,
        Outcome.SITE_ERROR: _RETRIED,
        Outcome.WRONG_CHART: _RETRIED,
        Outcome.BLANK_PICTURE: _RETRIED,
        Outcome.TIMEOUT_NAVIGATE: _RETRIED,
        Outcome.TIMEOUT_READY: _RETRIED,
        Outcome.TIMEOUT_SETTLE: _RETRIED,
        Outcome.TIMEOUT_SHOOT: _RETRIED,
        Outcome.PAGE_CRASHED: _RETRIED,
        Outcome.BROWSER_CRASHED: Rule(After.RERUN, CaptureEventKind.FAILED),
        Outcome.STORAGE_FAILED: _RETRIED,
        Outcome.INTERNAL_ERROR: _RETRIED,
        Outcome.STALE: _REFUSED,
        Outcome.ACCOUNT_LIMIT: _REFUSED,
        Outcome.NOT_CONSENTED: _REFUSED,
        Outcome.CAPTURES_STOPPED: _REFUSED,
        Outcome.SESSION_MISSING: _REFUSED,
        Outcome.SESSION_UNREADABLE: _REFUSED,
    }
)

TOLD_BY_THE_SITE: Final = frozenset(
    {
        Outcome.SESSION_EXPIRED,
        Outcome.ACCOUNT_FLAGGED,
        Outcome.CAPTCHA,
        Outcome.LAYOUT_NOT_FOUND,
        Outcome.SYMBOL_UNKNOWN,
        Outcome.ACCESS_DENIED,
        Outcome.RATE_LIMITED,
        Outcome.CONNECTION_LIMIT,
        Outcome.SITE_ERROR,
        Outcome.WRONG_CHART,
        Outcome.BLANK_PICTURE,
    }
)
"""What a page may say of itself. It must not be able to end a capture as completed."""


class PictureWarning(StrEnum):
    """What the row of a completed picture says beside it: the outcome was `degraded`."""

    SETTLED_BY_CAP = "settled_by_cap"


class CaptureFailedError(AlertsError):
    """A try ended without a picture. `detail` holds no secret and may be logged."""

    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        super().__init__(f"{outcome}: {detail}" if detail else outcome)
        self.outcome = outcome
        self.detail = detail


class CaptureRefusedError(CaptureFailedError):
    """No try is made: the user has not agreed, has stopped captures, or has no usable session."""
