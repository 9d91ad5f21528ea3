import base64

import pytest
from pydantic import SecretStr

from runtime.encryption import KeyRing, parse_keys
from runtime.errors import FatalError, InvalidError

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
OWNER = "user_config.tv_sessionid/019a0000-0000-7000-8000-00000000000a"
SESSION = SecretStr("s3ss10n-cookie")


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_rotation_is_by_the_order_of_the_keys() -> None:
    """The first key encrypts; blobs of the others can still be read, until their key is taken out."""
    before = KeyRing({"old": OLD}).encrypt(SESSION, OWNER)
    rotating = KeyRing({"new": NEW, "old": OLD})
    after = rotating.encrypt(SESSION, OWNER)
    assert rotating.decrypt(before, OWNER) == rotating.decrypt(after, OWNER) == SESSION
    assert KeyRing({"new": NEW}).decrypt(after, OWNER) == SESSION
    with pytest.raises(InvalidError) as caught:
        KeyRing({"new": NEW}).decrypt(before, OWNER)
    assert caught.value.reason == "unknown_key"


def test_a_blob_moved_to_another_row_does_not_decrypt() -> None:
    """The owner is a part of the seal: nobody gets another tenant's session by copying a column."""
    ring = KeyRing({"k": OLD})
    with pytest.raises(InvalidError) as caught:
        ring.decrypt(ring.encrypt(SESSION, OWNER), OWNER[:-1] + "b")
    assert caught.value.reason == "undecryptable"


def test_a_key_under_another_id_does_not_decrypt() -> None:
    """The same id with other bytes is a mistake, and told apart from an unknown id."""
    blob = KeyRing({"k": OLD}).encrypt(SESSION, OWNER)
    with pytest.raises(InvalidError) as caught:
        KeyRing({"k": NEW}).decrypt(blob, OWNER)
    assert caught.value.reason == "undecryptable"


def test_equal_secrets_give_different_blobs() -> None:
    """Each blob has a nonce of its own, so a table does not show who shares a session."""
    ring = KeyRing({"k": OLD})
    assert ring.encrypt(SESSION, OWNER) != ring.encrypt(SESSION, OWNER)
    assert SESSION.get_secret_value().encode() not in ring.encrypt(SESSION, OWNER)


def test_keys_are_read_in_their_order() -> None:
    """`id:base64`, commas between, spaces around; what is first stays first."""
    text = SecretStr(f" new:{encoded(NEW)} , old:{encoded(OLD)}")
    assert list(parse_keys(text).items()) == [("new", NEW), ("old", OLD)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k1",
        "k1:",
        "k1:not base64",
        f"k1:{encoded(OLD[:16])}",
        f":{encoded(OLD)}",
        f"k1:{encoded(OLD)},",
        f"{'k' * 256}:{encoded(OLD)}",
        f"é:{encoded(OLD)}",
    ],
)
def test_unfit_keys_are_refused_without_showing_them(text: str) -> None:
    """A process with wrong keys does not start, and its error does not hold the key."""
    with pytest.raises(FatalError) as caught:
        parse_keys(SecretStr(text))
    assert "ENCRYPTION_KEYS" in str(caught.value)
    assert encoded(OLD) not in str(caught.value)


def test_the_longest_key_id_works() -> None:
    """The id's length fits its byte in the blob."""
    ring = KeyRing(parse_keys(SecretStr(f"{'k' * 255}:{encoded(OLD)}")))
    assert ring.decrypt(ring.encrypt(SESSION, OWNER), OWNER) == SESSION
