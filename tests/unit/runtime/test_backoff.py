from itertools import islice

from runtime.backoff import backoff_s


def test_waits_double_up_to_the_cap_and_never_end() -> None:
    """A short outage is noticed soon, a long one is not hammered."""
    assert list(islice(backoff_s(0.1, 1.0), 7)) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_the_first_wait_may_be_the_cap() -> None:
    """Then all are equal."""
    assert list(islice(backoff_s(2, 2), 3)) == [2, 2, 2]
