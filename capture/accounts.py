"""TradingView accounts as a worker knows them: who shares one, and which may not be used now. No I/O."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from capture.session import TradingViewSession
from runtime.clock import Clock

_KNOWN_MAX: Final = 20_000
_PURPOSE: Final = b"capture account|"


def account_key(secret: SecretStr, session: TradingViewSession) -> bytes:
    """32 bytes that name the account a session belongs to, and tell nothing of the session.

    Two users who have given the same session get the same name, in every worker.
    """
    message = _PURPOSE + session.sessionid.get_secret_value().encode()
    return hmac.digest(secret.get_secret_value().encode(), message, hashlib.sha256)


class AccountBook:
    """Which user uses which account, as far as that has shown, and which accounts are busy or rest.

    An account is known once one of its users was served; until then its users count as free.
    """

    def __init__(self, clock: Clock, known_max: int = _KNOWN_MAX) -> None:
        self._clock = clock
        self._known_max = known_max
        self._account_of: OrderedDict[UUID, bytes] = OrderedDict()
        self._users_of: dict[bytes, set[UUID]] = {}
        self._user_in: dict[bytes, UUID] = {}
        self._rests_until_s: dict[bytes, float] = {}

    def is_free(self, user_id: UUID) -> bool:
        account = self._account_of.get(user_id)
        return account is None or (account not in self._user_in and self._has_rested(account))

    def occupy(self, user_id: UUID, account: bytes) -> bool:
        """Learn whose account it is. False: another has it, or it rests."""
        self._learn(user_id, account)
        if not self._has_rested(account) or self._user_in.get(account, user_id) != user_id:
            return False
        self._user_in[account] = user_id
        return True

    def leave(self, user_id: UUID) -> None:
        """The account that the user has, if any, may have another."""
        for account, occupant in list(self._user_in.items()):
            if occupant == user_id:
                del self._user_in[account]

    def rest(self, account: bytes, seconds: float) -> None:
        """Nobody gets the account for so long."""
        if seconds > 0:
            self._rests_until_s[account] = self._clock.monotonic_s() + seconds

    def users_of(self, account: bytes) -> Iterable[UUID]:
        return self._users_of.get(account, ())

    def wake_in_s(self) -> float | None:
        """When the next account has rested enough. None: none rests."""
        now_s = self._clock.monotonic_s()
        self._rests_until_s = {key: until for key, until in self._rests_until_s.items() if until > now_s}
        return min(self._rests_until_s.values()) - now_s if self._rests_until_s else None

    def _has_rested(self, account: bytes) -> bool:
        until_s = self._rests_until_s.get(account)
        return until_s is None or until_s <= self._clock.monotonic_s()

    def _learn(self, user_id: UUID, account: bytes) -> None:
        self._forget(user_id)
        self._account_of[user_id] = account
        self._users_of.setdefault(account, set()).add(user_id)
        if len(self._account_of) > self._known_max:
            self._forget(next(iter(self._account_of)))

    def _forget(self, user_id: UUID) -> None:
        account = self._account_of.pop(user_id, None)
        if account is not None:
            self._users_of[account].discard(user_id)
            if not self._users_of[account]:
                del self._users_of[account]
