"""A dead letter keeps the original whole and says why it is here, however often it dies."""

from datetime import UTC, datetime, timedelta
from importlib import metadata

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from runtime.deadletter_postmark import Postmark, read_deadletter
from runtime.deadletters import DeadLetter, deadletter_message, redriven_message
from runtime.errors import InvalidError
from runtime.publisher import Message, sent_bytes
from runtime.streams.record import StreamRecord, TopicPartition
from schemas.headers import CloudEvent, event_headers
from schemas.topics import DEADLETTERS, LARGE_MESSAGE_BYTES

FAILED_AT = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
ENVELOPE = event_headers(CloudEvent("one", "alerts.webhook", "ingest", FAILED_AT, traceparent="00-1-2-01"))


def record(**changes: object) -> StreamRecord:
    values = {
        "source": TopicPartition("webhooks.raw", 3),
        "offset": 42,
        "generation": 7,
        "timestamp_ms": 1_773_480_413_125,
        "key": b"user",
        "value": b"\xff body",
        "headers": (("ce_id", b"x"), ("query", b"chart=1")),
        **changes,
    }
    return StreamRecord(**values)  # type: ignore[arg-type]  # from a table of overrides


def letter(of: StreamRecord | None = None, error: Exception | None = None, later_s: int = 0) -> Message:
    failed_at = FAILED_AT + timedelta(seconds=later_s)
    cause = error or InvalidError("bad_key", "s3cr3t")
    return deadletter_message(DeadLetter(of or record(), "process", cause, 2, failed_at))


def postmark(message: Message) -> Postmark:
    read = read_deadletter(message.headers)
    assert isinstance(read, Postmark)
    return read


def redriven(message: Message, offset: int = 43) -> StreamRecord:
    """The record as its stage gets it again."""
    back = redriven_message(postmark(message), message.key, message.value, message.headers)
    return record(
        offset=offset, timestamp_ms=1_773_490_000_000, value=back.value, headers=tuple(back.headers)
    )


@pytest.mark.parametrize("size", [0, 63, 64, 8191, 8192, 1_100_000])
@pytest.mark.parametrize("key", [None, b"k" * 36])
def test_the_size_of_a_record_is_known_before_it_is_sent(size: int, key: bytes | None) -> None:
    """A broker that refuses one leaves its producer unable to send another: exactly, not about."""
    headers: list[tuple[str, bytes]] = [("é", b"x" * (size % 300)), ("a", b"")] * (size % 7)
    message = Message("signals", key, b"v" * size, headers)
    assert sent_bytes(message.key, message.value, message.headers) == batch_bytes(message)


def batch_bytes(message: Message) -> int:
    """What a broker compares with the topic's limit."""
    batch = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1)
    batch.append(0, 1_773_480_413_125, message.key, message.value, message.headers)
    return len(batch.build())


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
        "dl_redrives": "0",
        "dl_first_seen": "2026-03-14T09:26:53.125Z",
        "dl_failed_at": "2026-03-14T09:30:00.000Z",
        "dl_code_version": metadata.version("alerts"),
    }
    assert b"s3cr3t" not in b"".join(headers.values())


def test_the_envelope_stays_that_of_the_original() -> None:
    """CloudEvents id, type, source and time, and the trace, are found by whoever looks for the alert."""
    message = letter(record(headers=tuple(ENVELOPE)))
    assert message.headers[: len(ENVELOPE)] == ENVELOPE


def test_a_letter_that_dies_again_tells_of_the_last_death_and_of_the_first_time() -> None:
    """Attempts add up over redrives and headers do not pile up."""
    message = letter()
    for times in (1, 2):
        message = letter(redriven(message, 42 + times), ZeroDivisionError(), later_s=60 * times)
        names = [name for name, _value in message.headers]
        assert len(names) == len(set(names))
        again = postmark(message)
        assert (again.offset, again.reason) == (42 + times, "ZeroDivisionError")
        assert (again.attempts, again.redrives) == (2 + 2 * times, times)
        assert again.first_seen == datetime(2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC)
        assert again.failed_at == FAILED_AT + timedelta(minutes=times)


def test_a_redriven_record_is_the_original_with_its_history() -> None:
    """Same topic, key, bytes and headers; only first time and counts are added."""
    message = letter(record(headers=tuple(ENVELOPE)))
    back = redriven_message(postmark(message), message.key, message.value, message.headers)
    assert (back.topic, back.key, back.value) == ("webhooks.raw", b"user", b"\xff body")
    assert back.headers == [
        *ENVELOPE,
        ("dl_first_seen", b"2026-03-14T09:26:53.125Z"),
        ("dl_attempts", b"2"),
        ("dl_redrives", b"1"),
    ]


def test_a_record_that_never_was_on_its_topic_has_no_place() -> None:
    """What the ingress buries from its spool."""
    read = postmark(letter(record(source=TopicPartition("webhooks.raw", -1), offset=-1)))
    assert (read.topic, read.partition, read.offset) == ("webhooks.raw", None, None)


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**63 - 1, -(2**63)])
def test_a_time_that_is_none_does_not_keep_a_record_from_its_burial(timestamp_ms: int) -> None:
    """A foreign producer writes what it likes; then the first time is the time of its death."""
    assert postmark(letter(record(timestamp_ms=timestamp_ms))).first_seen == FAILED_AT


def test_foreign_headers_do_not_keep_a_record_from_its_burial() -> None:
    """Without a value, with unreadable bytes, twice the same name, or names of ours with nonsense."""
    foreign = (("a", None), ("b", b"\xff"), ("b", b"2"), ("dl_attempts", b"many"), ("dl_first_seen", b"x"))
    message = letter(record(headers=foreign))
    assert message.headers[:3] == [("a", None), ("b", b"\xff"), ("b", b"2")]
    assert postmark(message).attempts == 2
    assert batch_bytes(message) > 0


def test_a_long_reason_is_cut() -> None:
    """Nothing makes the postmark large."""
    assert len(postmark(letter(error=InvalidError("r" * 10_000))).reason) == 256


@pytest.mark.parametrize("headers_bytes", [0, 1_000, 100_000])
@pytest.mark.parametrize("spare_bytes", [0, 1, 60, 1_000, 5_000])
def test_a_letter_fits_whenever_the_original_did(headers_bytes: int, spare_bytes: int) -> None:
    """Headers are left out beside a value at the topic's limit, the value never."""
    headers = (("ce_id", b"x"), ("large", b"h" * headers_bytes))
    empty = batch_bytes(Message("signals", b"user", b"v" * 3_000_000, list(headers))) - 3_000_000
    original = record(value=b"v" * (LARGE_MESSAGE_BYTES - empty - spare_bytes), headers=headers)
    message = letter(original)
    assert batch_bytes(message) <= LARGE_MESSAGE_BYTES
    assert message.value is original.value
    if spare_bytes + headers_bytes >= 1_000:
        read = postmark(message)
        lost = len(headers) - sum(not name.startswith("dl_") for name, _value in message.headers)
        assert read.lost_headers == lost
        assert lost == (1 if spare_bytes < 200 else 0)


def test_a_redriven_record_fits_its_topic_as_the_original_did() -> None:
    """Its history is left out when there is no room for it."""
    original = Message("signals", b"user", b"v", [("ce_id", b"x")])
    value = b"v" * (LARGE_MESSAGE_BYTES - batch_bytes(original) - 20)
    read = postmark(letter(record(source=TopicPartition("signals", 0))))
    back = redriven_message(read, b"user", value, [("ce_id", b"x")])
    assert ("ce_id", b"x") in back.headers
    assert batch_bytes(back) <= LARGE_MESSAGE_BYTES
