"""Stateless sessions in the form of TradingView's two cookies: the second carries the user, signed."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from runtime.errors import InvalidError

USER_NAME_MAX_CHARS: Final = 64

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9]{32}")
_SIGN_PREFIX: Final = "v3:"
_MAC_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Session:
    """Values of the cookies `sessionid` and `sessionid_sign`; both are needed, neither shows in a repr."""

    sessionid: SecretStr
    sessionid_sign: SecretStr


def new_session_id(random_hex: Callable[[int], str] = secrets.token_hex) -> str:
    """32 letters and digits."""
    return random_hex(16)


def mint(secret: SecretStr, user_name: str, session_id: str) -> Session:
    """Sign `user_name` in. Raises `InvalidError` (`user_name`, `session_id`) on a malformed argument."""
    if not _SESSION_ID.fullmatch(session_id):
        raise InvalidError("session_id", "needs 32 letters and digits")
    if not _well_formed(user_name):
        raise InvalidError("user_name", f"needs 1 to {USER_NAME_MAX_CHARS} printable characters")
    user = user_name.encode()
    signed = base64.b64encode(_mac(secret, session_id, user) + user).decode()
    return Session(SecretStr(session_id), SecretStr(_SIGN_PREFIX + signed))


def read(secret: SecretStr, sessionid: str, sign: str) -> str | None:
    """The user name the two cookies were minted for, or None. Never raises; compares in constant time."""
    if not _SESSION_ID.fullmatch(sessionid) or not sign.startswith(_SIGN_PREFIX):
        return None
    try:
        signed = base64.b64decode(sign.removeprefix(_SIGN_PREFIX).encode(), validate=True)
    except (ValueError, binascii.Error):
        return None
    mac, user = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(secret, sessionid, user)):
        return None
    return user.decode()


def _mac(secret: SecretStr, sessionid: str, user: bytes) -> bytes:
    key = secret.get_secret_value().encode()
    return hmac.digest(key, sessionid.encode() + b"\0" + user, hashlib.sha256)


def _well_formed(user_name: str) -> bool:
    return 0 < len(user_name) <= USER_NAME_MAX_CHARS and user_name.isprintable()
