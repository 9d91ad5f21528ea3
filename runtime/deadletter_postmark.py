"""What a dead letter says of itself, in `dl_*` headers beside those of the original record."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.headers import Headers, rfc3339

HeaderPairs = Iterable[tuple[str, bytes | None]]
"""As a client reads them: a foreign record may have a header without a value."""

VALUE_BYTES: Final = 256
_DIGITS: Final = 18

_NAMES: Final = (
    "dl_topic",
    "dl_stage",
    "dl_reason",
    "dl_failed_at",
    "dl_first_seen",
    "dl_attempts",
    "dl_redrives",
    "dl_partition",
    "dl_offset",
    "dl_exception",
    "dl_code_version",
)
LOST_HEADERS: Final = "dl_lost_headers"


class Postmark(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record came from, and why and when it ended here.

    `topic`, `partition` and `offset` are the original record's; the last two are absent when it never was on
    its topic. `attempts` and `first_seen` count from the very first time, across `redrives`, the number of
    times it was put back. `lost_headers` of the original did not fit beside a value at the topic's limit.
    """

    topic: str
    stage: str
    reason: str
    failed_at: datetime
    first_seen: datetime
    attempts: int = 1
    redrives: int = 0
    partition: int | None = None
    offset: int | None = None
    exception: str = ""
    code_version: str = ""
    lost_headers: int = 0


class UnreadableLetter(msgspec.Struct, frozen=True):
    """A record of the topic that none of our processes wrote, or a newer one did."""

    problem: str


class History(msgspec.Struct, frozen=True):
    """What a redriven record carries, so that a letter that dies again goes on counting."""

    first_seen: datetime | None = None
    attempts: int = 0
    redrives: int = 0


class _UnreadableHeaderError(ValueError):
    pass


def postmark_headers(postmark: Postmark) -> Headers:
    """What matters most comes first; `lost_headers` is added by whoever loses them."""
    values = {
        "dl_topic": postmark.topic,
        "dl_stage": postmark.stage,
        "dl_reason": postmark.reason,
        "dl_failed_at": rfc3339(postmark.failed_at),
        "dl_first_seen": rfc3339(postmark.first_seen),
        "dl_attempts": str(postmark.attempts),
        "dl_redrives": str(postmark.redrives),
        "dl_partition": postmark.partition,
        "dl_offset": postmark.offset,
        "dl_exception": postmark.exception,
        "dl_code_version": postmark.code_version,
    }
    return [
        (name, str(values[name]).encode("utf-8", "replace")[:VALUE_BYTES])
        for name in _NAMES
        if values[name] is not None
    ]


def history_headers(history: History) -> Headers:
    seen = [] if history.first_seen is None else [("dl_first_seen", rfc3339(history.first_seen).encode())]
    return [*seen, ("dl_attempts", b"%d" % history.attempts), ("dl_redrives", b"%d" % history.redrives)]


def original_headers(headers: HeaderPairs) -> list[tuple[str, bytes | None]]:
    """Those of the record before it died, in their order."""
    return [(name, value) for name, value in headers if not is_ours(name)]


def is_ours(name: str) -> bool:
    """Whether a header belongs to the postmark."""
    return name in _NAMES or name == LOST_HEADERS


def read_deadletter(headers: HeaderPairs) -> Postmark | UnreadableLetter:
    """Total: what does not read as a letter is an `UnreadableLetter` that names the header at fault."""
    values = _texts(headers)
    try:
        failed_at = _moment(values, "dl_failed_at")
        return Postmark(
            topic=_text(values, "dl_topic"),
            stage=_text(values, "dl_stage"),
            reason=_text(values, "dl_reason"),
            failed_at=failed_at,
            first_seen=_moment(values, "dl_first_seen") if "dl_first_seen" in values else failed_at,
            attempts=_number(values, "dl_attempts", 1),
            redrives=_number(values, "dl_redrives", 0),
            partition=_place(values, "dl_partition"),
            offset=_place(values, "dl_offset"),
            exception=values.get("dl_exception", ""),
            code_version=values.get("dl_code_version", ""),
            lost_headers=_number(values, LOST_HEADERS, 0),
        )
    except _UnreadableHeaderError as error:
        return UnreadableLetter(str(error))


def read_history(headers: HeaderPairs) -> History:
    """Total: what is absent or unreadable counts as a first time."""
    values = _texts(headers)
    try:
        return History(
            first_seen=_moment(values, "dl_first_seen"),
            attempts=_number(values, "dl_attempts", 0),
            redrives=_number(values, "dl_redrives", 0),
        )
    except _UnreadableHeaderError:
        return History()


def _texts(headers: HeaderPairs) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in headers}


def _text(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise _UnreadableHeaderError(f"no header {name}")
    return values[name]


def _moment(values: Mapping[str, str], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(values, name))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, _UnreadableHeaderError):
            raise
    raise _UnreadableHeaderError(f"unreadable header {name}")


def _number(values: Mapping[str, str], name: str, absent: int) -> int:
    text = values.get(name)
    if text is None:
        return absent
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise _UnreadableHeaderError(f"unreadable header {name}")
    return int(text)


def _place(values: Mapping[str, str], name: str) -> int | None:
    return _number(values, name, 0) if name in values else None
