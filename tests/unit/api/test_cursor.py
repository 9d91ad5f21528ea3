"""Cursors that nobody can make up."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.cursor import CursorSeal
from runtime.errors import InvalidError

USER = UUID("019a0000-0000-7000-8000-00000000000a")
OTHER = UUID("019a0000-0000-7000-8000-00000000000b")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SEAL = CursorSeal(SecretStr("sixteen characters and more"))


@given(st.uuids(), st.uuids())
def test_a_cursor_opens_to_what_was_sealed(user_id: UUID, last_id: UUID) -> None:
    """Any position comes back, and its text needs no escaping in a URL."""
    cursor = SEAL.seal(user_id, last_id)
    assert SEAL.open(cursor, user_id) == last_id
    assert set(cursor) <= set(ALPHABET)


def test_no_character_can_be_changed() -> None:
    """Whatever single character is replaced, the cursor is refused."""
    cursor = SEAL.seal(USER, OTHER)
    changed = [
        cursor[:place] + other + cursor[place + 1 :]
        for place in range(len(cursor))
        for other in ALPHABET
        if other != cursor[place]
    ]
    assert [text for text in changed if opens(text)] == []


@pytest.mark.parametrize("text", ["", "x", "AAAA", "é" * 68, "A" * 68, "%%%", "A" * 5000, " " + "A" * 67])
def test_junk_is_refused(text: str) -> None:
    """Text of any kind is an invalid cursor, never another error."""
    assert not opens(text)


def test_a_cursor_cannot_be_lengthened_or_cut() -> None:
    """Only the exact text opens."""
    cursor = SEAL.seal(USER, OTHER)
    assert [text for text in (cursor + "A", cursor + "AAAA", cursor[:-4], cursor + "=") if opens(text)] == []


def test_a_cursor_belongs_to_one_user_and_one_secret() -> None:
    """A position in one user's list says nothing about another's, nor in another installation."""
    cursor = SEAL.seal(USER, OTHER)
    assert not opens(cursor, user_id=OTHER)
    assert not opens(CursorSeal(SecretStr("another secret of some length")).seal(USER, OTHER))


def opens(text: str, user_id: UUID = USER) -> bool:
    try:
        SEAL.open(text, user_id)
    except InvalidError:
        return False
    return True
