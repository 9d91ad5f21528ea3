"""Which letters a filter means."""

from datetime import timedelta
from uuid import UUID

import pytest

from runtime.deadletter_log import LetterFilter, Place, Span, StoredLetter, _cut
from tests.support.deadletters import FAILED_AT, USER, foreign_letter, stored_letter

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (LetterFilter(), True),
        (LetterFilter(reasons=frozenset({"bad_headers", "other"})), True),
        (LetterFilter(reasons=frozenset({"other"})), False),
        (LetterFilter(stages=frozenset({"process"})), True),
        (LetterFilter(stages=frozenset({"sink"})), False),
        (LetterFilter(topics=frozenset({"webhooks.raw"})), True),
        (LetterFilter(topics=frozenset({"signals"})), False),
        (LetterFilter(since=FAILED_AT), True),
        (LetterFilter(since=FAILED_AT + SECOND), False),
        (LetterFilter(until=FAILED_AT + SECOND), True),
        (LetterFilter(until=FAILED_AT), False),
        (LetterFilter(user_id=UUID(USER)), True),
        (LetterFilter(user_id=UUID(int=1)), False),
        (LetterFilter(stages=frozenset({"process"}), reasons=frozenset({"other"})), False),
    ],
)
def test_a_letter_matches_what_is_true_of_it(wanted: LetterFilter, *, matches: bool) -> None:
    """All conditions at once; of one kind any; `since` is included, `until` is not."""
    assert wanted.matches(stored_letter()) == matches


@pytest.mark.parametrize(
    "wanted",
    [
        LetterFilter(reasons=frozenset({"process"})),
        LetterFilter(stages=frozenset({"process"})),
        LetterFilter(topics=frozenset({"process"})),
    ],
)
def test_an_unreadable_letter_has_neither_reason_nor_stage_nor_topic(wanted: LetterFilter) -> None:
    """It is there for who looks at everything, and by the time it was written."""
    letter = foreign_letter([("dl_stage", b"process")])
    assert LetterFilter().matches(letter)
    assert LetterFilter(since=FAILED_AT).matches(letter)
    assert not LetterFilter(until=FAILED_AT).matches(letter)
    assert not wanted.matches(letter)


def test_a_letter_without_a_readable_time_matches_no_span_of_time() -> None:
    """A foreign record may claim any moment."""
    letter = StoredLetter(Place(0, 0), 2**62, None, b"", (), foreign_letter([]).postmark)
    assert letter.failed_at is None
    assert LetterFilter().matches(letter)
    assert not LetterFilter(since=FAILED_AT).matches(letter)


@pytest.mark.parametrize("key", [None, b"", b"198.51.100.7", b"\xff" * 16])
def test_a_key_that_is_no_tenant_is_none(key: bytes | None) -> None:
    """Refused calls are keyed by address."""
    assert stored_letter(key=key).user_id is None


def test_a_first_place_skips_all_before_it() -> None:
    """Partitions before it, and the beginning of its own."""
    spans = [Span(number, 5, 10) for number in range(3)]
    assert [_cut(span, Place(1, 7)) for span in spans] == [Span(0, 10, 10), Span(1, 7, 10), Span(2, 5, 10)]
    assert _cut(Span(0, 5, 10), Place(0, 0)) == Span(0, 5, 10)
