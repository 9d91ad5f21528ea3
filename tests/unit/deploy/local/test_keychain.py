import json
from pathlib import Path

import pytest

from deploy.local.errors import LocalError
from deploy.local.keychain import Keychain, load_keychain
from runtime.encryption import parse_keys
from runtime.tokens import well_formed


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    """The data of a clone stays readable over restarts."""
    path = tmp_path / "secrets.json"
    assert load_keychain(path) == load_keychain(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_clones_share_no_secret(tmp_path: Path) -> None:
    """None of them is a constant."""
    files = [tmp_path / name for name in ("a", "b")]
    for path in files:
        load_keychain(path)
    first, second = (json.loads(path.read_text()) for path in files)
    assert not set(first.values()) & set(second.values())


def test_a_secret_added_later_is_made_up(tmp_path: Path) -> None:
    """A file of an older version gets what it lacks and keeps what it has."""
    path = tmp_path / "secrets.json"
    path.write_text('{"postgres_password": "kept-password"}')
    keychain = load_keychain(path)
    assert keychain.postgres_password.get_secret_value() == "kept-password"
    assert load_keychain(path) == keychain


def test_secrets_have_the_form_their_users_want() -> None:
    """Keys of 32 bytes, a well-formed webhook token, and nothing shown in a repr."""
    keychain = Keychain()
    assert [len(key) for key in parse_keys(keychain.encryption_keys).values()] == [32]
    assert well_formed(keychain.demo_webhook_token.get_secret_value())
    assert keychain.demo_webhook_token.get_secret_value() not in repr(keychain)


def test_an_unreadable_file_is_not_replaced(tmp_path: Path) -> None:
    """New secrets would lock the data away for good."""
    path = tmp_path / "secrets.json"
    path.write_text("{half")
    with pytest.raises(LocalError):
        load_keychain(path)
    assert path.read_text() == "{half"
