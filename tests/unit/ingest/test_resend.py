"""Which id a resend gets."""

from uuid import UUID

from ingest.resend import EARLIEST_RESEND_S, REMEMBERED_FOR_S, ResendKey, ResendMemory, resend_key
from tests.support.tenants import new_user_id

USER = UUID("019a0000-0000-7000-8000-00000000000a")
SOON_S = EARLIEST_RESEND_S - 0.001


def key(body: bytes = b"alert", query: str = "", user_id: UUID = USER) -> ResendKey:
    return resend_key(user_id, query, body)


def test_a_resend_gets_the_id_of_the_first_send() -> None:
    """The same tenant, query and body some seconds later are the same alert."""
    memory, first = ResendMemory(), new_user_id()
    memory.remember(key(), first, 100.0)
    assert memory.recall(key(), 100.0 + EARLIEST_RESEND_S) == first


def test_an_equal_alert_sent_sooner_is_another_one() -> None:
    """TradingView resends after 5 s; what comes sooner is a second alert and leaves the first's id alone."""
    memory, first = ResendMemory(), new_user_id()
    memory.remember(key(), first, 100.0)
    assert memory.recall(key(), 100.0 + SOON_S) is None
    assert memory.recall(key(), 105.0) == first


def test_an_id_is_used_once() -> None:
    """The second alert with the same text is a signal of its own."""
    memory = ResendMemory()
    memory.remember(key(), new_user_id(), 100.0)
    memory.recall(key(), 105.0)
    assert memory.recall(key(), 105.0) is None


def test_equal_alerts_get_their_ids_back_oldest_first() -> None:
    """Two equal alerts that both failed stay two signals."""
    memory, first, second = ResendMemory(), new_user_id(), new_user_id()
    memory.remember(key(), first, 100.0)
    memory.remember(key(), second, 101.0)
    assert [memory.recall(key(), 105.5), memory.recall(key(), 105.5)] == [first, second]


def test_what_differs_is_another_alert() -> None:
    """Another tenant, query or body never gets the id."""
    memory = ResendMemory()
    memory.remember(key(), new_user_id(), 100.0)
    others = [key(body=b"alert "), key(query="chart=x"), key(user_id=new_user_id())]
    assert [memory.recall(other, 105.0) for other in others] == [None, None, None]


def test_an_id_is_forgotten_after_its_time() -> None:
    """The last resend comes 15 s after the first send: a minute is enough, and more would merge alerts."""
    memory, first = ResendMemory(), new_user_id()
    memory.remember(key(), first, 100.0)
    assert memory.recall(key(), 100.0 + REMEMBERED_FOR_S + 0.1) is None


def test_an_id_is_forgotten_after_its_time_behind_a_younger_one() -> None:
    """A key that was remembered again does not keep the ids that came after its first one."""
    memory = ResendMemory()
    memory.remember(key(b"a"), new_user_id(), 0.0)
    memory.remember(key(b"b"), new_user_id(), 1.0)
    memory.remember(key(b"a"), new_user_id(), 50.0)
    assert memory.recall(key(b"b"), 62.0) is None
    assert memory.recall(key(b"a"), 62.0) is not None


def test_the_memory_is_bounded_also_for_one_text_sent_again_and_again() -> None:
    """A flood of equal alerts keeps only the newest ids."""
    memory, ids = ResendMemory(capacity=3), [new_user_id() for _ in range(5)]
    for number, signal_id in enumerate(ids):
        memory.remember(key(), signal_id, 100.0 + number)
    assert [memory.recall(key(), 110.0) for _ in range(4)] == [*ids[2:], None]


def test_the_memory_is_bounded_over_all_texts() -> None:
    """The oldest is forgotten first, whosever it is."""
    memory = ResendMemory(capacity=2)
    for body in (b"a", b"b", b"c"):
        memory.remember(key(body), new_user_id(), 100.0)
    assert memory.recall(key(b"a"), 105.0) is None
    assert memory.recall(key(b"b"), 105.0) is not None
