from datetime import UTC, datetime
from importlib import metadata

from runtime.deadletters import DeadLetter, deadletter_message
from runtime.errors import InvalidError
from runtime.publisher import Message
from runtime.streams.record import StreamRecord, TopicPartition
from schemas.topics import DEADLETTERS

RECORD = StreamRecord(
    source=TopicPartition("webhooks.raw", 3),
    offset=42,
    generation=7,
    timestamp_ms=1_773_480_413_125,
    key=b"user",
    value=b"\xff body",
    headers=(("ce_id", b"x"), ("query", b"chart=1")),
)
FAILED_AT = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


def letter(record: StreamRecord = RECORD, error: Exception | None = None) -> Message:
    return deadletter_message(
        DeadLetter(record, "process", error or InvalidError("bad_key", "s3cr3t"), 2, FAILED_AT)
    )


def test_a_dead_letter_keeps_the_original() -> None:
    """Key, bytes and headers are untouched, so it can be put back."""
    message = letter()
    assert (message.topic, message.key, message.value) == (DEADLETTERS.name, b"user", b"\xff body")
    assert message.headers[:2] == [("ce_id", b"x"), ("query", b"chart=1")]


def test_a_dead_letter_says_where_it_came_from_and_why() -> None:
    """Everything an operator asks first, without the exception's text: that may quote the data."""
    headers = dict(letter().headers)
    assert {name: headers[name].decode() for name in headers if name.startswith("dl_")} == {
        "dl_stage": "process",
        "dl_reason": "bad_key",
        "dl_exception": "InvalidError",
        "dl_topic": "webhooks.raw",
        "dl_partition": "3",
        "dl_offset": "42",
        "dl_attempts": "2",
        "dl_first_seen": "2026-03-14T09:26:53.125Z",
        "dl_failed_at": "2026-03-14T09:30:00.000Z",
        "dl_code_version": metadata.version("alerts"),
    }
    assert b"s3cr3t" not in b"".join(headers.values())


def test_a_letter_that_dies_again_tells_of_the_last_death() -> None:
    """A redriven record does not pile up headers."""
    first = letter()
    again = StreamRecord(RECORD.source, 43, 7, 0, first.key, first.value, tuple(first.headers))
    names = [name for name, _value in letter(again, ZeroDivisionError()).headers]
    assert len(names) == len(set(names))
    headers = dict(letter(again, ZeroDivisionError()).headers)
    assert (headers["dl_offset"], headers["dl_reason"]) == (b"43", b"ZeroDivisionError")
