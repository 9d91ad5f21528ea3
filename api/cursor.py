"""Opaque cursors: where a page ended, sealed so that nobody can make one up."""

import base64
import hashlib
import hmac
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from runtime.errors import InvalidError

_VERSION: Final = b"\x01"
_TAG_BYTES: Final = 18
"""Makes the whole a multiple of three bytes, which needs no padding."""
_LAST_ID: Final = slice(17, 33)


class CursorSeal:
    """Seals a position in one user's list as base64url text."""

    def __init__(self, secret: SecretStr) -> None:
        self._secret = secret

    def seal(self, user_id: UUID, last_id: UUID) -> str:
        payload = _VERSION + user_id.bytes + last_id.bytes
        return base64.urlsafe_b64encode(payload + self._tag(payload)).decode()

    def open(self, cursor: str, user_id: UUID) -> UUID:
        """The last id seen. Raises `InvalidError` (`invalid_cursor`) for one not sealed for this user."""
        try:
            last_id = UUID(bytes=base64.b64decode(cursor, altchars=b"-_")[_LAST_ID])
        except ValueError as error:
            raise InvalidError("invalid_cursor") from error
        # compared as text, since several texts decode to the same bytes
        if not hmac.compare_digest(self.seal(user_id, last_id), cursor):
            raise InvalidError("invalid_cursor")
        return last_id

    def _tag(self, payload: bytes) -> bytes:
        # the prefix keeps a cursor's tag from ever being a link's signature
        key = self._secret.get_secret_value().encode()
        return hmac.digest(key, b"cursor\n" + payload, hashlib.sha256)[:_TAG_BYTES]
