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
    signal_id: UUID
    answered_at_s: float


class ResendMemory:
    """Ids of webhooks answered 503 after they were handed over. Each is used once, oldest first.

    In memory of one process: a resend that reaches another process, or this one restarted, is a second
    signal. Bounded; the oldest are forgotten first.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._by_key: OrderedDict[ResendKey, deque[_Remembered]] = OrderedDict()

    def remember(self, key: ResendKey, signal_id: UUID, now_s: float) -> None:
        """Call when the 503 is answered."""
        self._forget_before(now_s - REMEMBERED_FOR_S)
        self._by_key.setdefault(key, deque()).append(_Remembered(signal_id, now_s))
        while len(self._by_key) > self._capacity:
            self._by_key.popitem(last=False)

    def recall(self, key: ResendKey, now_s: float) -> UUID | None:
        """The id to use again if this can be a resend, else None."""
        self._forget_before(now_s - REMEMBERED_FOR_S)
        waiting = self._by_key.get(key)
        if not waiting or now_s - waiting[0].answered_at_s < EARLIEST_RESEND_S:
            return None
        remembered = waiting.popleft()
        if not waiting:
            del self._by_key[key]
        return remembered.signal_id

    def _forget_before(self, limit_s: float) -> None:
        # Keys are in the order of their first memory, so the old ones are at the front.
        while self._by_key:
            key = next(iter(self._by_key))
            waiting = self._by_key[key]
            while waiting and waiting[0].answered_at_s < limit_s:
                waiting.popleft()
            if waiting:
                return
            del self._by_key[key]
