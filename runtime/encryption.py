"""Secrets at rest: AES-256-GCM with a key id in the blob and the owner as associated data."""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from runtime.errors import FatalError, InvalidError

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_KEY_ID_MAX_BYTES: Final = 255
_VERSION: Final = b"\x01"

RandomBytes = Callable[[int], bytes]


class KeyRing:
    """Encrypts with the first key, decrypts with any. Blob: version, id length, id, nonce, ciphertext.

    `owner` binds a blob to its row and column (`user_config.tv_sessionid/<user id>`): moved elsewhere it
    does not decrypt. Not for more than 2**32 blobs a key (random nonces).
    """

    def __init__(self, keys: Mapping[str, bytes], random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._ciphers = {key_id.encode(): AESGCM(key) for key_id, key in keys.items()}
        self._current = next(iter(self._ciphers))
        self._random_bytes = random_bytes

    @property
    def header(self) -> bytes:
        """What every blob of the first key begins with, and no blob of another."""
        return _VERSION + bytes([len(self._current)]) + self._current

    def encrypt(self, plain: SecretStr, owner: str) -> bytes:
        header = self.header
        nonce = self._random_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self._current]
        data = plain.get_secret_value().encode()
        return header + nonce + cipher.encrypt(nonce, data, header + owner.encode())

    def decrypt(self, blob: bytes, owner: str) -> SecretStr:
        """Raises `InvalidError` (`unknown_key`, `undecryptable`): neither is cured by waiting."""
        header, nonce, sealed = _split(blob)
        cipher = self._ciphers.get(header[2:])
        if cipher is None:
            raise InvalidError("unknown_key", header[2:].decode("ascii", "replace"))
        try:
            return SecretStr(cipher.decrypt(nonce, sealed, header + owner.encode()).decode())
        except InvalidTag as error:
            raise InvalidError("undecryptable") from error


def parse_keys(text: SecretStr) -> dict[str, bytes]:
    """`id:base64,…` as key bytes by id. Raises `FatalError` without showing any of it."""
    try:
        pairs = [item.strip().split(":", 1) for item in text.get_secret_value().split(",")]
        keys = {key_id: base64.b64decode(value, validate=True) for key_id, value in pairs}
    except (ValueError, binascii.Error) as error:
        raise FatalError("ENCRYPTION_KEYS is not a list of id:base64") from error
    ids_fit = all(key_id.isascii() and 0 < len(key_id) <= _KEY_ID_MAX_BYTES for key_id in keys)
    if not ids_fit or any(len(key) != _KEY_BYTES for key in keys.values()):
        raise FatalError("ENCRYPTION_KEYS needs ids and keys of 32 bytes")
    return keys


def _split(blob: bytes) -> tuple[bytes, bytes, bytes]:
    header_bytes = 2 + blob[1] if len(blob) > 1 else 2
    nonce_end = header_bytes + _NONCE_BYTES
    if blob[:1] != _VERSION or len(blob) < nonce_end:
        raise InvalidError("undecryptable")
    return blob[:header_bytes], blob[header_bytes:nonce_end], blob[nonce_end:]
