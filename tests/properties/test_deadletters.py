"""Any record can be buried, read and put back."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from runtime.deadletter_postmark import Postmark, UnreadableLetter, read_deadletter, read_history
from runtime.deadletter_view import full_view, json_line, table_row
from runtime.deadletters import DeadLetter, deadletter_message, redriven_message
from runtime.errors import InvalidError
from runtime.streams.record import StreamRecord, TopicPartition
from tests.support.deadletters import foreign_letter, postmark_of

_FIELDS = ("topic", "stage", "reason", "failed_at", "first_seen", "attempts", "redrives", "offset", "else")
_NAMES = st.one_of(st.sampled_from([f"dl_{name}" for name in _FIELDS]), st.text(max_size=8))
_VALUES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"2026-03-14T09:30:00Z", b"-1", b"12", b"webhooks.raw"]),
)
HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=12)


@given(HEADERS)
def test_reading_a_letter_is_total(headers: list[tuple[str, bytes | None]]) -> None:
    """Any headers are a postmark or an unreadable letter, and can be shown."""
    assert isinstance(read_deadletter(headers), Postmark | UnreadableLetter)
    assert read_history(headers).attempts >= 0
    letter = foreign_letter(headers, value=b"\x1b\xff")
    shown = "\n".join([*table_row(letter), json_line(letter), *full_view(letter)])
    assert all(character.isprintable() or character == "\n" for character in shown)


@given(HEADERS, st.binary(), st.integers(-(2**63), 2**63 - 1), st.one_of(st.none(), st.binary(max_size=40)))
def test_what_was_buried_comes_back_as_it_was(
    headers: list[tuple[str, bytes | None]], value: bytes, timestamp_ms: int, key: bytes | None
) -> None:
    """Key, bytes and headers of its own, in their order, whatever they are."""
    record = StreamRecord(TopicPartition("signals", 1), 5, 1, timestamp_ms, key, value, tuple(headers))  # type: ignore[arg-type]  # a foreign record's headers
    failed_at = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
    message = deadletter_message(DeadLetter(record, "sink", InvalidError("unfit"), 1, failed_at))
    postmark = read_deadletter(message.headers)
    assert isinstance(postmark, Postmark)
    assert (postmark.topic, postmark.partition, postmark.offset) == ("signals", 1, 5)
    assert postmark.first_seen <= failed_at or timestamp_ms > 0
    back = redriven_message(postmark, message.key, message.value, message.headers)
    assert (back.topic, back.key, back.value) == ("signals", key, value)
    ours = {name for name, _value in message.headers if name.startswith("dl_")} - {"dl_else"}
    kept = [pair for pair in headers if pair[0] not in ours]
    assert [pair for pair in back.headers if pair[0] not in ours] == kept


@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_attempts_add_up_without_end(attempts: int, redrives: int) -> None:
    """A letter may die as often as it likes."""
    postmark = postmark_of(attempts=attempts, redrives=redrives)
    back = redriven_message(postmark, None, b"", [])
    history = read_history(back.headers)
    assert (history.attempts, history.redrives) == (attempts, redrives + 1)
