"""What a letter says of itself is read back whole, or refused by the header at fault."""

from datetime import UTC, datetime

import pytest

from runtime.deadletter_postmark import (
    History,
    Postmark,
    UnreadableLetter,
    history_headers,
    original_headers,
    postmark_headers,
    read_deadletter,
    read_history,
)
from tests.support.deadletters import FAILED_AT, postmark_of


@pytest.mark.parametrize(
    "postmark",
    [
        postmark_of(),
        postmark_of(partition=None, offset=None, stage="ingest"),
        postmark_of(attempts=9, redrives=2, exception="ValueError", code_version="1.2.3"),
    ],
    ids=["whole", "without a place", "redriven"],
)
def test_a_postmark_is_read_as_it_was_written(postmark: Postmark) -> None:
    """Every field, absent places included."""
    assert read_deadletter(postmark_headers(postmark)) == postmark


def test_four_headers_are_enough() -> None:
    """Beside a value at the limit there may be room for no more."""
    headers = postmark_headers(postmark_of())[:4]
    assert read_deadletter(headers) == postmark_of(partition=None, offset=None)


@pytest.mark.parametrize("name", ["dl_topic", "dl_stage", "dl_reason", "dl_failed_at"])
def test_a_letter_without_what_matters_is_unreadable(name: str) -> None:
    """Absent, empty or without a value, and the header is named."""
    rest = [pair for pair in postmark_headers(postmark_of()) if pair[0] != name]
    for headers in (rest, [*rest, (name, b"")], [*rest, (name, None)]):
        assert read_deadletter(headers) == UnreadableLetter(f"no header {name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dl_failed_at", b"yesterday"),
        ("dl_failed_at", b"2026-03-14T09:30:00"),
        ("dl_failed_at", b"0001-01-01T00:00:00+14:00"),
        ("dl_first_seen", b"\xff"),
        ("dl_attempts", b"-1"),
        ("dl_attempts", b"1_0"),
        ("dl_attempts", "٣".encode()),
        ("dl_partition", b""),
        ("dl_offset", b"9" * 5000),
        ("dl_redrives", None),
        ("dl_lost_headers", b"0x1"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(name: str, value: bytes | None) -> None:
    """Nothing is guessed."""
    headers = [*postmark_headers(postmark_of()), (name, value)]
    assert read_deadletter(headers) == UnreadableLetter(f"unreadable header {name}")


def test_foreign_records_are_no_letters() -> None:
    """Without headers, or with any others."""
    assert read_deadletter([]) == UnreadableLetter("no header dl_failed_at")
    assert isinstance(read_deadletter([("\ud800", b"x"), ("", None)]), UnreadableLetter)


def test_times_are_read_in_utc() -> None:
    """Whatever offset a newer writer uses."""
    headers = [*postmark_headers(postmark_of()), ("dl_failed_at", b"2026-03-14T10:30:00+01:00")]
    read = read_deadletter(headers)
    assert isinstance(read, Postmark)
    assert (read.failed_at, read.failed_at.tzinfo) == (FAILED_AT, UTC)


def test_a_history_is_read_as_it_was_written() -> None:
    """Absent and unreadable count as a first time."""
    history = History(datetime(2026, 3, 1, tzinfo=UTC), 6, 2)
    assert read_history(history_headers(history)) == history
    assert read_history([]) == read_history([("dl_first_seen", b"x")]) == History()


def test_the_original_headers_are_those_that_are_not_ours() -> None:
    """In their order, also one whose name only begins like ours."""
    pairs = [("dl_else", b"1"), *postmark_headers(postmark_of()), ("a", None), ("dl_lost_headers", b"1")]
    assert original_headers(pairs) == [("dl_else", b"1"), ("a", None)]
