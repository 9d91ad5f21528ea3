"""The user's TradingView session: read before every try, decrypted only here, shown to nobody."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from asyncpg import Record as Row
from pydantic import SecretStr

from capture.outcomes import CaptureRefusedError, Outcome
from runtime.encryption import KeyRing
from runtime.errors import InvalidError
from runtime.postgres import Pool
from runtime.sessions import session_owner
from runtime.sql import load_queries

_QUERIES: Final = load_queries("capture", "queries.sql")
_REMEMBERED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class TradingViewSession:
    """Values of the cookies `sessionid` and `sessionid_sign`. `version` rises with each renewal."""

    sessionid: SecretStr
    sessionid_sign: SecretStr
    version: int


class Sessions(Protocol):
    """Where sessions come from."""

    async def read(self, user_id: UUID) -> TradingViewSession:
        """The session that is valid now, of a user who agrees to captures.

        Raises `CaptureRefusedError` when there is none, and what the database raises when it is away.
        """
        ...

    def expired(self, user_id: UUID, version: int) -> None:
        """The site has refused this version: it is not given out again, whatever the store says."""
        ...


class SessionStore:
    """Sessions of the table `user_config`. Consent and both kill switches are read with each session."""

    def __init__(self, pool: Pool, keyring: KeyRing) -> None:
        self._pool = pool
        self._keyring = keyring
        # The row is marked by the sink, somewhat later; until then the site must not be asked in vain.
        self._refused: OrderedDict[UUID, int] = OrderedDict()

    async def read(self, user_id: UUID) -> TradingViewSession:
        row = await self._pool.fetchrow(_QUERIES["read_session"], user_id)
        if row is None:
            raise CaptureRefusedError(Outcome.SESSION_MISSING)
        refusal = self._refusal(user_id, row)
        if refusal is not None:
            raise CaptureRefusedError(refusal)
        return self._decrypt(user_id, row)

    def expired(self, user_id: UUID, version: int) -> None:
        self._refused[user_id] = version
        self._refused.move_to_end(user_id)
        if len(self._refused) > _REMEMBERED_MAX:
            self._refused.popitem(last=False)

    def _refusal(self, user_id: UUID, row: Row) -> Outcome | None:
        if row["captures_consented_at"] is None:
            return Outcome.NOT_CONSENTED
        if row["captures_stopped"] or row["all_stopped"]:
            return Outcome.CAPTURES_STOPPED
        if row["tv_sessionid"] is None:
            return Outcome.SESSION_MISSING
        if not row["tv_cookies_valid"] or self._refused.get(user_id) == row["session_version"]:
            return Outcome.SESSION_EXPIRED
        return None

    def _decrypt(self, user_id: UUID, row: Row) -> TradingViewSession:
        try:
            sessionid, sessionid_sign = (
                self._keyring.decrypt(row[column], session_owner(column, user_id))
                for column in ("tv_sessionid", "tv_sessionid_sign")
            )
        except InvalidError as error:
            raise CaptureRefusedError(Outcome.SESSION_UNREADABLE, error.reason) from error
        return TradingViewSession(sessionid, sessionid_sign, row["session_version"])
