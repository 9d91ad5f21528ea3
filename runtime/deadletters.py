"""Dead letters: what the pipeline itself could not handle, with the original bytes and the reason."""

from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from typing import Final

from runtime.clock import utc_from_ms
from runtime.errors import reason_of
from runtime.publisher import Message
from runtime.streams.record import StreamRecord
from schemas.headers import rfc3339
from schemas.topics import DEADLETTERS

CODE_VERSION: Final = metadata.version("alerts")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`attempts` counts the tries of this process; the exception's text is left out: it may hold data."""

    record: StreamRecord
    stage: str
    error: BaseException
    attempts: int
    failed_at: datetime


def deadletter_message(letter: DeadLetter) -> Message:
    """The original key, bytes and headers, and beside them where it came from and why it is here."""
    record = letter.record
    origin = {
        "dl_stage": letter.stage,
        "dl_reason": reason_of(letter.error),
        "dl_exception": type(letter.error).__name__,
        "dl_topic": record.source.topic,
        "dl_partition": str(record.source.partition),
        "dl_offset": str(record.offset),
        "dl_attempts": str(letter.attempts),
        "dl_first_seen": rfc3339(utc_from_ms(record.timestamp_ms)),
        "dl_failed_at": rfc3339(letter.failed_at),
        "dl_code_version": CODE_VERSION,
    }
    kept = [(name, value) for name, value in record.headers if name not in origin]
    headers = [*kept, *((name, value.encode()) for name, value in origin.items())]
    return Message(DEADLETTERS.name, record.key, record.value, headers)
