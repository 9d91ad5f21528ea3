"""Dead letters as they lie on their topic, without a broker."""

from datetime import UTC, datetime
from typing import Final

from runtime.deadletter_log import Place, StoredLetter
from runtime.deadletter_postmark import HeaderPairs, Postmark, postmark_headers, read_deadletter

FAILED_AT: Final = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
USER: Final = "019ceb00-0000-7000-8000-000000000002"


def postmark_of(**changes: object) -> Postmark:
    values = {
        "topic": "webhooks.raw",
        "stage": "process",
        "reason": "bad_headers",
        "failed_at": FAILED_AT,
        "first_seen": FAILED_AT,
        "partition": 0,
        "offset": 7,
        **changes,
    }
    return Postmark(**values)  # type: ignore[arg-type]  # from a table of overrides


def stored_letter(
    offset: int = 0, *, key: bytes | None = USER.encode(), value: bytes = b"body", **changes: object
) -> StoredLetter:
    """`changes` are those of the postmark."""
    headers = (("ce_id", b"x"), *postmark_headers(postmark_of(**changes)))
    return foreign_letter(headers, offset, key=key, value=value)


def foreign_letter(
    headers: HeaderPairs, offset: int = 0, *, key: bytes | None = None, value: bytes = b""
) -> StoredLetter:
    """A record of the topic with any headers."""
    pairs = tuple(headers)
    return StoredLetter(Place(0, offset), 1_773_480_600_000, key, value, pairs, read_deadletter(pairs))
