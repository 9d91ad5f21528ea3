"""Times as aware UTC. Pure."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from processors.characters import bare
from processors.reading import Outcome
from schemas.records import Warning_

_LONGEST: Final = 64
_LENGTH_OF_ISO: Final = 20
_LENGTH_OF_MS: Final = 13
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?(?:E\+?[0-9]{1,2})?")
_UTC_NAME: Final = re.compile(r"\s*(?:UTC|GMT|Z)$")
_SPACE_BEFORE_OFFSET: Final = re.compile(r"(?<=[0-9])\s+(?=[+-][0-9])")

# By magnitude. The windows leave out dates written without separators, 202603140926 and 20260314092653,
# which would otherwise pass for milliseconds of 1976 and 2612.
_SECONDS: Final = range(10**8, 10**10)
_MILLISECONDS: Final = range(10**12, 10**13)

_INVALID: Final = Outcome[datetime](None, Warning_.INVALID_TIME)


def read_time(text: str) -> Outcome[datetime]:
    """ISO 8601, or Unix seconds or milliseconds. Without a zone it is read as UTC, `naive_time`."""
    if (common := _read_common(text)) is not None:
        return Outcome(common)
    text = bare(text).upper()
    if len(text) > _LONGEST:
        return _INVALID
    try:
        if _UNIX.fullmatch(text) and (unix := Decimal(text)) >= _SECONDS.start:
            return _from_unix(unix)
        return _from_iso(_SPACE_BEFORE_OFFSET.sub("", _UTC_NAME.sub("+00:00", text)))
    except (ValueError, OverflowError):
        return _INVALID


def _read_common(text: str) -> datetime | None:
    """As TradingView itself writes times, `2026-03-14T09:26:53Z` or milliseconds, else none."""
    if len(text) == _LENGTH_OF_ISO and text[10] == "T" and text[-1] == "Z":
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    if len(text) == _LENGTH_OF_MS and text.isascii() and text.isdigit() and text[0] != "0":
        return _EPOCH + timedelta(milliseconds=int(text))
    return None


def _from_unix(unix: Decimal) -> Outcome[datetime]:
    if int(unix) in _SECONDS:
        unix *= 1000
    elif int(unix) not in _MILLISECONDS:
        return _INVALID
    seconds, microseconds = divmod(int(unix * 1000), 1_000_000)
    return Outcome(datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds))


def _from_iso(text: str) -> Outcome[datetime]:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return Outcome(moment.replace(tzinfo=UTC), Warning_.NAIVE_TIME)
    return Outcome(moment.astimezone(UTC))
