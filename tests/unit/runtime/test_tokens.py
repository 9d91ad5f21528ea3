import base64
import hashlib

import pytest

from runtime.tokens import TOKEN_BYTES, new_api_key, new_token, token_hash, well_formed


def test_a_token_is_192_random_bits_in_the_url_safe_alphabet() -> None:
    """Nobody guesses one, and it needs no quoting in a URL."""
    token = new_token().get_secret_value()
    assert len(base64.urlsafe_b64decode(token)) == TOKEN_BYTES == 24
    assert well_formed(token)
    assert new_token() != new_token()


def test_randomness_comes_in_as_an_argument() -> None:
    """All of the token is the random text, and it asks for enough of it."""
    assert new_token(lambda count: "x" * count).get_secret_value() == "x" * 24
    assert new_api_key(lambda count: "x" * count).get_secret_value() == "tvk_" + "x" * 24


def test_new_secrets_do_not_show() -> None:
    """Printing one by mistake prints stars."""
    token = new_token()
    assert token.get_secret_value() not in f"{token} {token!r}"


def test_an_api_key_is_told_from_a_token() -> None:
    """Secret scanners look for the prefix."""
    assert new_api_key().get_secret_value().startswith("tvk_")


def test_a_hash_is_lower_case_sha256() -> None:
    """The form in which tokens are stored and published."""
    assert token_hash("abc") == hashlib.sha256(b"abc").hexdigest()
    assert token_hash("\udcff") != token_hash("\udcfe")


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("a" * 27, True),
        ("a" * 128, True),
        ("A-Za-z0-9_" + "x" * 20, True),
        ("a" * 26, False),
        ("a" * 129, False),
        ("", False),
        ("a" * 30 + "\n", False),
        ("a" * 30 + "/", False),
        ("a" * 30 + "=", False),
        ("é" * 30, False),
        ("٣" * 30, False),
    ],
)
def test_what_can_be_a_token_at_all(segment: str, *, expected: bool) -> None:
    """160 bits or more, of 64 characters; anything else is no reason to look one up."""
    assert well_formed(segment) is expected
