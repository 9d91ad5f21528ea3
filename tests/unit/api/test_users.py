"""What the parts of a user must look like."""

import pytest
from pydantic import SecretStr

from api.users import CreatedUser, NewUser, check_chart, check_cookies, check_token
from runtime.errors import InvalidError
from runtime.ids import uuid7
from schemas.plans import Plan

GOOD = "v3:Xyz+/=_-.~!#$%&'()*"


@pytest.mark.parametrize("chart_id", ["abc", "a" * 33, "with-dash", "", "Ab3dE9xZ\n", "ñññññ"])
def test_a_chart_id_has_letters_and_digits_only(chart_id: str) -> None:
    """Anything else could not be a layout of the chart site."""
    with pytest.raises(InvalidError, match="invalid_chart"):
        check_chart(chart_id)
    check_chart("Ab3dE9xZ")
    check_chart(None)


@pytest.mark.parametrize("value", ["", " ", "a b", "a;b", "a,b", 'a"b', "a\\b", "a\nb", "é", "a" * 4097])
def test_a_cookie_has_the_octets_of_a_cookie_only(value: str) -> None:
    """A value that would break the header, or was pasted with its quotes, is refused without being shown."""
    check_cookies([SecretStr(GOOD)])
    with pytest.raises(InvalidError) as refused:
        check_cookies([SecretStr(GOOD), SecretStr(value)])
    assert str(refused.value) == "invalid_cookie: empty, too long, or not the value of a cookie"


def test_a_given_token_must_be_hard_to_guess() -> None:
    """A token that the ingress would call malformed is refused when it is set."""
    check_token(None)
    check_token(SecretStr("x" * 32))
    with pytest.raises(InvalidError, match="invalid_token"):
        check_token(SecretStr("short"))


def test_secrets_are_not_in_reprs() -> None:
    """Printing a user in a log or a traceback shows no token."""
    token = SecretStr("the-token-of-somebody-else-0123")
    printed = repr(NewUser("ana", Plan.FREE, token=token)) + repr(CreatedUser(uuid7(1, 2, 3), token))
    assert token.get_secret_value() not in printed
