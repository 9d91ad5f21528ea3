"""Recognises the sender's resend of a webhook whose first fate is unknown.

TradingView resends after 5 s what was answered 5xx, byte for byte and without a delivery id. A record that
had been handed to the producer may still be written, so the resend must carry the same signal id.
"""

import hashlib
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final
from uuid import UUID

REMEMBERED_FOR_S: Final = 60.0
EARLIEST_RESEND_S: Final = 4.0
"""Anything sooner is another alert with the same text (two time frames of one chart)."""

CAPACITY: Final = 100_000


@dataclass(frozen=True, slots=True)
class ResendKey:
    """What a resend has in common with the first send."""

    user_id: UUID
    query: str
    body_sha256: bytes


def resend_key(user_id: UUID, query: str, body: bytes) -> ResendKey:
    return ResendKey(user_id, query, hashlib.sha256(body).digest())


@dataclass(frozen=True, slots=True)
class _Remembered:
    key: ResendKey
    answered_at_s: float


class ResendMemory:
    """Ids of webhooks answered 503 after they were handed over. Each is used once, oldest first.

    In memory of one process: a resend that reaches another process, or this one restarted, is a second
    signal. Holds at most `capacity` ids; the oldest are forgotten first.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # Both are in the order of remembering, so the oldest id of all is also the first of its key.
        self._by_id: OrderedDict[UUID, _Remembered] = OrderedDict()
        self._ids_of: dict[ResendKey, deque[UUID]] = {}

    def __len__(self) -> int:
        """Ids that may be recalled yet."""
        return len(self._by_id)

    def remember(self, key: ResendKey, signal_id: UUID, now_s: float) -> None:
        """Call when the 503 is answered, with times that never run backwards."""
        self._forget_before(now_s - REMEMBERED_FOR_S)
        self._by_id[signal_id] = _Remembered(key, now_s)
        self._ids_of.setdefault(key, deque()).append(signal_id)
        if len(self._by_id) > self._capacity:
            self._take(next(iter(self._by_id)))

    def recall(self, key: ResendKey, now_s: float) -> UUID | None:
        """The id to use again if this can be a resend, else None."""
        self._forget_before(now_s - REMEMBERED_FOR_S)
        waiting = self._ids_of.get(key)
        if not waiting or now_s - self._by_id[waiting[0]].answered_at_s < EARLIEST_RESEND_S:
            return None
        return self._take(waiting[0])

    def _forget_before(self, limit_s: float) -> None:
        while self._by_id:
            signal_id, oldest = next(iter(self._by_id.items()))
            if oldest.answered_at_s >= limit_s:
                return
            self._take(signal_id)

    def _take(self, signal_id: UUID) -> UUID:
        """Remove an id that is the first of its key."""
        key = self._by_id.pop(signal_id).key
        waiting = self._ids_of[key]
        waiting.popleft()
        if not waiting:
            del self._ids_of[key]
        return signal_id
