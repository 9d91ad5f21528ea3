import base64

import pytest
from pydantic import SecretStr

from deploy.local.chart.sessions import Session, mint, new_session_id, read
from runtime.errors import InvalidError

_SECRET = SecretStr("a secret of the look-alike")
_SESSION_ID = "0123456789abcdef0123456789ABCDEF"


def _values(session: Session) -> tuple[str, str]:
    return session.sessionid.get_secret_value(), session.sessionid_sign.get_secret_value()


@pytest.mark.parametrize("user", ["demo", "Ana López 🚀", "<b>&\"'", "x" * 64])
def test_a_minted_session_names_its_user(user: str) -> None:
    """Both cookies together give back the user name they were minted for."""
    assert read(_SECRET, *_values(mint(_SECRET, user, _SESSION_ID))) == user


def test_cookies_look_like_the_real_ones() -> None:
    """32 letters and digits; `v3:` and base64."""
    sessionid, sign = _values(mint(_SECRET, "demo", _SESSION_ID))
    assert sessionid == _SESSION_ID
    assert sign.startswith("v3:")
    assert base64.b64decode(sign.removeprefix("v3:"), validate=True)


def test_the_signature_belongs_to_one_session_id() -> None:
    """A signature next to another session id signs nobody in."""
    _, sign = _values(mint(_SECRET, "demo", _SESSION_ID))
    assert read(_SECRET, "f" * 32, sign) is None


def test_the_signature_needs_the_secret() -> None:
    """Cookies minted with another secret sign nobody in."""
    assert read(SecretStr("another secret, as long"), *_values(mint(_SECRET, "demo", _SESSION_ID))) is None


def test_the_user_name_cannot_be_exchanged() -> None:
    """The signature covers the user name it carries."""
    sessionid, sign = _values(mint(_SECRET, "demo", _SESSION_ID))
    forged = base64.b64decode(sign.removeprefix("v3:"))[:-4] + b"root"
    assert read(_SECRET, sessionid, "v3:" + base64.b64encode(forged).decode()) is None


@pytest.mark.parametrize(
    ("sessionid", "sign"),
    [
        ("", ""),
        (_SESSION_ID, ""),
        (_SESSION_ID, "v3:"),
        (_SESSION_ID, "v3:???"),
        (_SESSION_ID, "v3:ñ"),
        (_SESSION_ID, "v3:" + base64.b64encode(b"\xff" * 40).decode()),
        (_SESSION_ID + "\n", "v3:AAAA"),
        ("short", "v3:AAAA"),
    ],
)
def test_malformed_cookies_sign_nobody_in(sessionid: str, sign: str) -> None:
    """Whatever a browser sends, reading never raises."""
    assert read(_SECRET, sessionid, sign) is None


@pytest.mark.parametrize("user", ["", "x" * 65, "two\nlines", "nul\0"])
def test_unprintable_user_names_are_refused(user: str) -> None:
    """A name must fit the page and the strip."""
    with pytest.raises(InvalidError, match="user_name"):
        mint(_SECRET, user, _SESSION_ID)


@pytest.mark.parametrize("session_id", ["", "0" * 31, "0" * 33, "-" * 32])
def test_malformed_session_ids_are_refused(session_id: str) -> None:
    """A session id has the real one's form."""
    with pytest.raises(InvalidError, match="session_id"):
        mint(_SECRET, "demo", session_id)


def test_a_session_does_not_show_its_values() -> None:
    """The repr of a session, which may end in a log, holds neither cookie."""
    session = mint(_SECRET, "demo", _SESSION_ID)
    assert not any(value in repr(session) for value in _values(session))


def test_new_session_ids_have_the_real_form() -> None:
    """What is minted for a new session is accepted by `mint`, and differs each time."""
    first, second = new_session_id(), new_session_id()
    assert first != second
    assert _values(mint(_SECRET, "demo", first))[0] == first
