"""Dead letters: what the pipeline itself could not handle, with the original bytes and the reason.

A letter is the original record with `dl_*` headers beside its own (`runtime.deadletter_postmark`). Redriven,
it is the original record again, and carries only since when and how often it has been tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from typing import Final

from runtime.clock import utc_from_ms
from runtime.deadletter_postmark import (
    LOST_HEADERS,
    HeaderPairs,
    History,
    Postmark,
    history_headers,
    is_ours,
    original_headers,
    postmark_headers,
    read_history,
)
from runtime.errors import reason_of
from runtime.publisher import LIMITS_BYTES, Message, sent_bytes
from runtime.streams.record import StreamRecord
from schemas.headers import Headers
from schemas.topics import DEADLETTERS

CODE_VERSION: Final = metadata.version("alerts")
_MOST_LOST: Final = b"9999999"
_LENGTHS_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`attempts` counts the tries of this process; the exception's text is left out: it may hold data.

    A record that never was on its topic has a negative partition and offset.
    """

    record: StreamRecord
    stage: str
    error: BaseException
    attempts: int
    failed_at: datetime


def deadletter_message(letter: DeadLetter) -> Message:
    """The original key, bytes and headers, and beside them where it came from and why it is here.

    Total. It fits the topic whenever the original fitted its own: beside a value near the limit headers are
    left out, those of the original first, and counted. The value is never touched.
    """
    record = letter.record
    headers = [*postmark_headers(_postmark(letter)), *original_headers(record.headers)]
    fitting = _fitting(DEADLETTERS.max_message_bytes, record.key, record.value, headers)
    if len(fitting) < len(headers):
        fitting = _counting_lost(record, headers)
    ours_last = sorted(fitting, key=lambda header: is_ours(header[0]))
    return Message(DEADLETTERS.name, record.key, record.value, ours_last)


def redriven_message(postmark: Postmark, key: bytes | None, value: bytes, headers: HeaderPairs) -> Message:
    """The record as it was, for the topic it came from, and its history for the case that it dies again."""
    history = History(postmark.first_seen, postmark.attempts, postmark.redrives + 1)
    wanted = [*original_headers(headers), *history_headers(history)]
    # beside a value at the limit the history is left out
    limit_bytes = LIMITS_BYTES.get(postmark.topic, DEADLETTERS.max_message_bytes)
    return Message(postmark.topic, key, value, _fitting(limit_bytes, key, value, wanted))


def _postmark(letter: DeadLetter) -> Postmark:
    record, history = letter.record, read_history(letter.record.headers)
    seen_at = _seen_at(record.timestamp_ms, letter.failed_at)
    return Postmark(
        topic=record.source.topic,
        stage=letter.stage,
        reason=reason_of(letter.error),
        failed_at=letter.failed_at,
        first_seen=min(seen_at, history.first_seen or seen_at),
        attempts=history.attempts + letter.attempts,
        redrives=history.redrives,
        partition=record.source.partition if record.source.partition >= 0 else None,
        offset=record.offset if record.offset >= 0 else None,
        exception=type(letter.error).__name__,
        code_version=CODE_VERSION,
    )


def _seen_at(timestamp_ms: int, otherwise: datetime) -> datetime:
    # a foreign producer writes what it likes
    try:
        return utc_from_ms(timestamp_ms) if timestamp_ms > 0 else otherwise
    except OverflowError:
        return otherwise


def _counting_lost(record: StreamRecord, headers: HeaderPairs) -> Headers:
    wanted = [(LOST_HEADERS, _MOST_LOST), *headers]
    fitting = _fitting(DEADLETTERS.max_message_bytes, record.key, record.value, wanted)
    lost = b"%d" % (len(wanted) - len(fitting))
    return [(name, lost if name == LOST_HEADERS else value) for name, value in fitting]


def _fitting(
    limit_bytes: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes | None]]
) -> Headers:
    """The headers that fit beside the value; the first are the most important."""
    if sent_bytes(key, value, headers) <= limit_bytes:
        return list(headers)  # type: ignore[arg-type]  # a header without a value is sent as it came
    # the lengths of record and list grow with them
    left_bytes = limit_bytes - sent_bytes(key, value, []) - _LENGTHS_BYTES
    nothing_bytes = sent_bytes(None, b"", [])
    fitting = []
    for header in headers:
        header_bytes = sent_bytes(None, b"", [header]) - nothing_bytes
        if header_bytes <= left_bytes:
            fitting.append(header)
            left_bytes -= header_bytes
    return fitting  # type: ignore[return-value]  # likewise
