"""What is sealed comes back whole and to its owner only, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from runtime.encryption import KeyRing
from runtime.errors import InvalidError

TEXT = st.text(st.characters(codec="utf-8"), max_size=200)
KEYS = st.dictionaries(
    st.text(st.characters(codec="ascii"), min_size=1, max_size=20),
    st.binary(min_size=32, max_size=32),
    min_size=1,
    max_size=3,
)


@given(keys=KEYS, plain=TEXT, owner=TEXT)
def test_what_is_sealed_comes_back(keys: dict[str, bytes], plain: str, owner: str) -> None:
    """Any text, under any key id, for any owner."""
    ring = KeyRing(keys)
    assert ring.decrypt(ring.encrypt(SecretStr(plain), owner), owner).get_secret_value() == plain


@given(keys=KEYS, plain=TEXT, data=st.data())
def test_a_changed_blob_is_refused(keys: dict[str, bytes], plain: str, data: st.DataObject) -> None:
    """Every single bit counts: of the version, the key id, the nonce and the seal."""
    ring = KeyRing(keys)
    blob = bytearray(ring.encrypt(SecretStr(plain), "owner"))
    bit = data.draw(st.integers(0, 8 * len(blob) - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidError):
        ring.decrypt(bytes(blob), "owner")


@given(keys=KEYS, plain=TEXT, data=st.data())
def test_a_cut_blob_is_refused(keys: dict[str, bytes], plain: str, data: st.DataObject) -> None:
    """Wherever it ends early, and never with another error."""
    ring = KeyRing(keys)
    blob = ring.encrypt(SecretStr(plain), "owner")
    with pytest.raises(InvalidError):
        ring.decrypt(blob[: data.draw(st.integers(0, len(blob) - 1))], "owner")


@given(keys=KEYS, blob=st.binary(max_size=80))
def test_any_bytes_are_refused_in_the_same_way(keys: dict[str, bytes], blob: bytes) -> None:
    """What was never sealed here is `InvalidError`, not a crash."""
    with pytest.raises(InvalidError):
        KeyRing(keys).decrypt(blob, "owner")
