"""What became of an accepted alert, told from the topics and the store: the ledger's rules. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from schemas.plans import PLAN_TERMS, Plan
from schemas.records import Disposition
from schemas.topics import DAY_MS

HOUR_MS: Final = 60 * 60 * 1000
NOBODY: Final = b""
"""Stands for the tenant of a record whose key names none."""

_ID_BYTES: Final = 16
_ID_VERSION: Final = 7
_LATEST_MS: Final = 253_402_300_799_999  # the last millisecond of the year 9999
_KEYS_KEPT: Final = 65_536


class Outcome(StrEnum):
    """Exactly one holds of each accepted alert. Only `MISSING` is a gap."""

    STORED = "stored"
    PARKED = "parked"
    DEAD = "dead"
    EXPIRED = "expired"
    TENANT_DELETED = "tenant_deleted"
    IN_FLIGHT = "in_flight"
    MISSING = "missing"


class Loss(StrEnum):
    """Between which two places a missing alert was lost."""

    BEFORE_SIGNALS = "before signals"
    AFTER_PROCESSORS = "after processors"


class UserState(NamedTuple):
    """A user as the database knows it now."""

    plan: Plan
    deleted: bool


class Trace(NamedTuple):
    """What the topics tell of one accepted alert.

    `waiting`: one of its records has not been consumed; `dead`: it has a dead letter that was not put back.
    `user_id` is 16 bytes, or `NOBODY`.
    """

    signal_id: UUID
    user_id: bytes
    waiting: bool
    on_signals: bool
    dead: bool


@dataclass(frozen=True, slots=True)
class Window:
    """Which alerts a run is about: received at or after `from_ms`, before `to_ms`, of one user or of all."""

    from_ms: int | None = None
    to_ms: int | None = None
    user_id: bytes | None = None

    def holds(self, received_ms: int, user_id: bytes) -> bool:
        return (
            (self.from_ms is None or received_ms >= self.from_ms)
            and (self.to_ms is None or received_ms < self.to_ms)
            and (self.user_id is None or user_id == self.user_id)
        )


def outcome_of(trace: Trace, disposition: Disposition | None, user: UserState | None, now_ms: int) -> Outcome:
    """Total. What is in the store is there, whatever else is known of it; `disposition` is None otherwise."""
    if disposition is not None:
        return Outcome(disposition.value)
    if trace.dead:
        return Outcome.DEAD
    if trace.waiting:
        return Outcome.IN_FLIGHT
    if user is not None and _expired(trace, user, now_ms):
        return Outcome.EXPIRED
    if user is not None and user.deleted and not trace.on_signals:
        return Outcome.TENANT_DELETED
    return Outcome.MISSING


def loss_of(trace: Trace) -> Loss:
    return Loss.AFTER_PROCESSORS if trace.on_signals else Loss.BEFORE_SIGNALS


def signal_id_of(headers: Mapping[str, bytes | None]) -> bytes | None:
    """The 16 bytes of the UUIDv7 in `ce_id`; None when there is none."""
    found = _uuid_bytes(headers.get("ce_id") or b"")
    if found is None or found[6] >> 4 != _ID_VERSION or received_ms_of(found) > _LATEST_MS:
        return None
    return found


def received_ms_of(signal_id: bytes) -> int:
    return int.from_bytes(signal_id[:6])


@lru_cache(_KEYS_KEPT)
def user_id_of(key: bytes | None) -> bytes:
    """The 16 bytes of the user that keys a record, or `NOBODY`."""
    return _uuid_bytes(key or b"") or NOBODY


def _uuid_bytes(text: bytes) -> bytes | None:
    try:
        found = bytes.fromhex(text.decode("ascii").replace("-", ""))
    except ValueError:
        return None
    return found if len(found) == _ID_BYTES else None


def _expired(trace: Trace, user: UserState, now_ms: int) -> bool:
    kept_ms = PLAN_TERMS[user.plan].signals_kept_days * DAY_MS
    return received_ms_of(trace.signal_id.bytes) < now_ms - kept_ms
