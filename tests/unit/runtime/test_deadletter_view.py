"""Letters as people see them: nothing a terminal obeys, no secret."""

import json

import pytest

from runtime.deadletter_view import HEADER, full_view, json_line, table, table_row
from tests.support.deadletters import USER, foreign_letter, stored_letter

SECRETS = [
    b'{"token": "s3cr3t", "price": 1}',
    b'{"user_token":"s3cr3t"}',
    b'{"passphrase":"a\\"s3cr3t"}',
    b'{"m": "{\\"secret\\": \\"s3cr3t\\"}"}',
    b"Password: correct s3cr3t, battery\nnext",
    "pass phrase： “s3cr3t”".encode(),
    b"ticker=X&token=s3cr3t&chart=1",
    b"TOKEN='s3cr3t'",
    b'{"secret": ["s3cr3t"]}',
]


def shown(value: bytes, name: str = "") -> str:
    letter = foreign_letter([(name, value)]) if name else stored_letter(value=value)
    return "\n".join(full_view(letter))


def test_a_row_has_what_the_header_says() -> None:
    """Place, time, stage, reason, tenant and size."""
    row = table_row(stored_letter(12, value=b"12345"))
    assert row == ("0:12", "2026-03-14T09:30:00.000Z", "process", "bad_headers", USER, "5")
    assert len(row) == len(HEADER)


def test_an_unreadable_letter_has_a_row() -> None:
    """With what is wrong in place of a reason."""
    assert table_row(foreign_letter([]))[2:5] == ("-", "unreadable: no header dl_failed_at", "-")


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    """And lines have no spaces at their end."""
    assert list(table([("a", "b"), ("long", "c")])) == ["a     b", "long  c"]


def test_what_a_terminal_obeys_is_escaped() -> None:
    """In cells, names, headers and the value; line breaks of a value stay."""
    evil = "\x1b[2Jred\r\u202ebidi\x00\x07"
    rows = " ".join(table_row(stored_letter(reason=evil, stage=evil)))
    text = shown(evil.encode() + b"\nnext \xff") + shown(evil.encode(), "name") + shown(b"x", evil)
    for character in "\x1b\r\u202e\x00\x07":
        assert character not in rows + text
    assert "\\x1b[2Jred\\r\\u202ebidi\\x00\\x07\nnext �" in text


@pytest.mark.parametrize("value", SECRETS)
def test_what_stands_behind_a_secrets_name_is_hidden(value: bytes) -> None:
    """In the value and in a header, whatever its form."""
    assert "s3cr3t" not in shown(value)
    assert "s3cr3t" not in shown(value, "query")
    assert "s3cr3t" not in shown(b"s3cr3t", "x_user_token")


def test_a_secret_on_the_edge_of_the_preview_is_hidden() -> None:
    """The value is cut after its secrets are hidden."""
    assert "s3cr3t" not in shown(b"x" * 4080 + b'"token":"s3cr3t s3cr3t s3cr3t"')


def test_the_preview_is_short_and_says_so() -> None:
    """The whole is for a file."""
    text = shown(b"v" * 300_000)
    assert len(text) < 6000
    assert text.endswith("… (300000 bytes in all)")


def test_a_json_line_has_the_whole_postmark_and_no_value() -> None:
    """One line, places included; an unreadable letter has a problem."""
    line = json.loads(json_line(stored_letter(12, value=b"s3cr3t")))
    assert (line["place"], line["user_id"], line["size_bytes"]) == ("0:12", USER, 6)
    assert (line["topic"], line["offset"], line["failed_at"]) == ("webhooks.raw", 7, "2026-03-14T09:30:00Z")
    assert "s3cr3t" not in json_line(stored_letter(12, value=b"s3cr3t"))
    assert json.loads(json_line(foreign_letter([])))["problem"] == "no header dl_failed_at"
