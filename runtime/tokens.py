"""Bearer secrets: webhook tokens and API keys. Only their SHA-256 is looked up."""

import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Final

from pydantic import SecretStr

TOKEN_BYTES: Final = 24
"""192 bits of randomness: no slow hash is needed."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{27,128}")

RandomText = Callable[[int], str]


def new_token(random_text: RandomText = secrets.token_urlsafe) -> SecretStr:
    """A URL-safe webhook token of 32 characters."""
    return SecretStr(random_text(TOKEN_BYTES))


def new_api_key(random_text: RandomText = secrets.token_urlsafe) -> SecretStr:
    """An API key; the prefix lets secret scanners find it."""
    return SecretStr(f"tvk_{random_text(TOKEN_BYTES)}")


def token_hash(token: str) -> str:
    """Lower-case hex SHA-256, the form that is stored and published."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def well_formed(token: str) -> bool:
    """Whether a path segment can be a token at all: 160 bits or more, from the URL-safe alphabet."""
    return _TOKEN.fullmatch(token) is not None
