from pydantic import SecretStr

from capture.accounts import AccountBook, account_key
from tests.support.capture_parts import KEY_SECRET, a_session, user_id
from tests.support.clock import FakeClock

ANA, BOB, EVE = (user_id(number) for number in (1, 2, 3))


def test_an_account_is_named_by_its_session() -> None:
    """The same for whoever has given it, whatever its version; another without it or the secret."""
    key = account_key(KEY_SECRET, a_session(1, "one"))
    assert key == account_key(KEY_SECRET, a_session(2, "one"))
    others = [account_key(KEY_SECRET, a_session(1, "two")), account_key(SecretStr("x"), a_session(1, "one"))]
    assert key not in others
    assert len(key) == 32


def test_sharers_of_an_account_exclude_each_other() -> None:
    """From when it is known that they share it, until the one who has it leaves."""
    book = AccountBook(FakeClock())
    assert book.occupy(ANA, b"A")
    assert book.occupy(ANA, b"A")
    assert book.is_free(BOB)
    assert not book.occupy(BOB, b"A")
    assert not book.is_free(BOB)
    assert set(book.users_of(b"A")) == {ANA, BOB}
    book.leave(ANA)
    assert book.is_free(BOB)
    assert book.occupy(BOB, b"A")
    assert not book.is_free(ANA)


def test_an_account_rests() -> None:
    """Nobody gets it meanwhile, not even who has it."""
    clock = FakeClock()
    book = AccountBook(clock)
    assert book.wake_in_s() is None
    assert book.occupy(ANA, b"A")
    book.rest(b"A", 5)
    book.rest(b"B", 7)
    book.rest(b"C", 0)
    book.leave(ANA)
    assert book.wake_in_s() == 5
    assert not book.occupy(ANA, b"A")
    clock.move(5)
    assert book.wake_in_s() == 2
    assert book.occupy(ANA, b"A")
    clock.move(2)
    assert book.wake_in_s() is None


def test_a_renewed_session_may_be_of_another_account() -> None:
    """The user leaves the old one altogether."""
    book = AccountBook(FakeClock())
    assert book.occupy(ANA, b"A")
    assert book.occupy(ANA, b"B")
    assert list(book.users_of(b"A")) == []
    book.leave(ANA)
    assert book.occupy(BOB, b"A")


def test_users_are_forgotten_in_the_end() -> None:
    """Those seen longest ago; they count as free until they are seen again."""
    book = AccountBook(FakeClock(), known_max=2)
    for user, account in ((ANA, b"A"), (BOB, b"B"), (EVE, b"C")):
        assert book.occupy(user, account)
    assert book.is_free(ANA)
    assert list(book.users_of(b"A")) == []
    assert not book.is_free(BOB)
