import pytest
from pydantic import SecretStr

from deploy.local.keychain import Keychain
from deploy.local.logins import Login, chosen_urls, embedded_logins
from deploy.local.settings import LocalSettings
from runtime.settings import SettingsError, load_section

OWNER = "postgresql://owner:secret@db.example:5432/alerts?sslmode=require"


def test_a_login_is_another_user_of_the_same_database() -> None:
    """Whatever its password is made of."""
    login = Login("alerts_sink_login", "alerts_sink", SecretStr("a/b@c:d"))
    expected = "postgresql://alerts_sink_login:a%2Fb%40c%3Ad@db.example:5432/alerts?sslmode=require"
    assert login.url(OWNER) == expected


def test_each_process_with_a_database_has_a_login_of_its_own() -> None:
    """No two share a name, a role or a password."""
    logins = embedded_logins(Keychain())
    assert set(logins) == {"sink", "capture", "api"}
    for values in zip(*((login.name, login.role, login.password) for login in logins.values()), strict=True):
        assert len(set(values)) == 3


def test_a_persons_database_is_one_for_all_unless_they_say_otherwise() -> None:
    """A login is chosen for each process apart."""
    values = {"DATABASE_URL": OWNER, "API_DATABASE_URL": "postgresql://reader@db.example/alerts"}
    urls = chosen_urls(load_section(LocalSettings, values), OWNER)
    assert urls == {"sink": OWNER, "capture": OWNER, "api": values["API_DATABASE_URL"]}


def test_logins_without_their_database_are_a_mistake() -> None:
    """The embedded database has its own; these would be silently ignored."""
    with pytest.raises(SettingsError, match="need DATABASE_URL"):
        load_section(LocalSettings, {"SINK_DATABASE_URL": "postgresql://sink@db.example/alerts"})
