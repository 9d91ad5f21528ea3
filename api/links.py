"""Signed links to pictures: they work without a key, for a while."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from runtime.clock import Clock, utc_now
from runtime.errors import InvalidError
from runtime.pictures import is_past_retention, is_picture_key

PICTURES_PATH: Final = "/pictures/"

_EXPIRES: Final = re.compile(r"[0-9]{1,12}")
_STEP_S: Final = 60
"""Links read within a minute are equal, so that browsers find the picture in their cache."""


@dataclass(frozen=True, slots=True)
class PictureLinks:
    """Mints links below `origin` and checks them. A link lives `lifetime_s` and up to a minute more."""

    secret: SecretStr
    origin: str
    lifetime_s: int
    clock: Clock

    def mint(self, key: str) -> str:
        """The link of a picture. Raises `InvalidError` (`invalid_key`) for a key that no link can name."""
        if not is_picture_key(key):
            raise InvalidError("invalid_key")
        step_s = min(_STEP_S, self.lifetime_s)
        expires_s = -(-(self._now_s() + self.lifetime_s) // step_s) * step_s
        signature = self._signature(key, str(expires_s))
        return f"{self.origin}{PICTURES_PATH}{key}?expires={expires_s}&signature={signature}"

    def mint_kept(self, key: str) -> str | None:
        """The link of a picture, None when its plan keeps it no longer."""
        return None if is_past_retention(key, utc_now(self.clock)) else self.mint(key)

    def check(self, key: str, expires: str, signature: str) -> int:
        """The seconds the link still works. Raises `InvalidError` (`invalid_link`) for any other."""
        expected = self._signature(key, expires)
        genuine = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass"))
        if not genuine or not is_picture_key(key) or not _EXPIRES.fullmatch(expires):
            raise InvalidError("invalid_link")
        remaining_s = int(expires) - self._now_s()
        if remaining_s <= 0:
            raise InvalidError("invalid_link", "expired")
        return remaining_s

    def _now_s(self) -> int:
        return self.clock.unix_ms() // 1000

    def _signature(self, key: str, expires: str) -> str:
        secret = self.secret.get_secret_value().encode()
        signed = f"picture\n{key}\n{expires}".encode("utf-8", "surrogatepass")
        return hmac.digest(secret, signed, hashlib.sha256).hex()
