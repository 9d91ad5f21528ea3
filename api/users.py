"""Users as values, and what their parts must look like."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from runtime.errors import InvalidError
from runtime.tokens import well_formed
from schemas.plans import Plan

_CHART_ID: Final = re.compile(r"[A-Za-z0-9]{4,32}")
# The octets a cookie may hold, RFC 6265 §4.1.1: anything else was copied wrongly.
_COOKIE: Final = re.compile(r"[!#-+\--:<-\[\]-~]{1,4096}")


@dataclass(frozen=True, slots=True)
class NewUser:
    """What a user is to be. Without an id or a token they are made up."""

    name: str
    plan: Plan
    default_chart_id: str | None = None
    user_id: UUID | None = None
    token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class CreatedUser:
    user_id: UUID
    token: SecretStr


@dataclass(frozen=True, slots=True)
class UserSummary:
    """A user without secrets. `session_version` 0: there never was a session. No addresses: any may send.

    `signals_used` counts in the present month of the quota.
    """

    user_id: UUID
    name: str
    plan: Plan
    signals_quota: int | None
    signals_used: int
    webhook_enabled: bool
    allowed_addresses: tuple[str, ...]
    default_chart_id: str | None
    session_version: int
    session_valid: bool
    captures_consented: bool
    captures_stopped: bool
    created_at: datetime

    @property
    def usage(self) -> str:
        """Of the quota."""
        return f"{self.signals_used}/{'-' if self.signals_quota is None else self.signals_quota}"

    @property
    def captures(self) -> str:
        """`on`, `off` or `stopped`."""
        if self.captures_stopped:
            return "stopped"
        return "on" if self.captures_consented else "off"


def check_chart(chart_id: str | None) -> None:
    if chart_id is not None and _CHART_ID.fullmatch(chart_id) is None:
        raise InvalidError("invalid_chart", "4 to 32 letters and digits")


def check_token(token: SecretStr | None) -> None:
    if token is not None and not well_formed(token.get_secret_value()):
        raise InvalidError("invalid_token", "27 to 128 characters of the URL-safe alphabet")


def check_cookies(values: Iterable[SecretStr]) -> None:
    if not all(_COOKIE.fullmatch(value.get_secret_value()) for value in values):
        raise InvalidError("invalid_cookie", "empty, too long, or not the value of a cookie")
