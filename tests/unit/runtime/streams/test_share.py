"""A pattern of dead letters stops a stage; a few, or a few among many, do not."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.streams.share import DeadLetterShare, ShareLimits
from tests.support.clock import FakeClock

LIMITS = ShareLimits()


def dead(share: DeadLetterShare, times: int) -> int:
    """How many of so many dead letters are let through."""
    for passed in range(times):
        if not share.allows_another():
            return passed
        share.add_dead()
    return times


def test_nothing_but_poison_stops_after_the_first_few() -> None:
    """A broken stage does not drain its topic."""
    share = DeadLetterShare(FakeClock())
    assert dead(share, 1000) == LIMITS.deadletters
    assert share.share() == 1.0


def test_poison_beside_as_much_good_traffic_goes_on() -> None:
    """Half of the records dying is the limit, whatever their number."""
    share = DeadLetterShare(FakeClock())
    share.add_good(400)
    assert dead(share, 1000) == 400


def test_what_is_long_ago_does_not_count() -> None:
    """A bad record now and then never adds up."""
    clock = FakeClock()
    share = DeadLetterShare(clock)
    for _ in range(200):
        assert dead(share, 1) == 1
        clock.move(LIMITS.window_s / LIMITS.deadletters + 1)
    clock.move(LIMITS.window_s + 1)
    assert share.share() == 0.0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.floats(0, 60)), max_size=80))
def test_the_limits_hold_in_any_history(history: list[tuple[bool, int, float]]) -> None:
    """As counted anew from the whole history each time."""
    clock = FakeClock()
    share = DeadLetterShare(clock)
    seen: list[tuple[float, int, int]] = []
    for is_good, count, pause_s in history:
        clock.move(pause_s)
        window = [entry for entry in seen if entry[0] >= clock.monotonic_s() - LIMITS.window_s]
        good, died = sum(entry[1] for entry in window), sum(entry[2] for entry in window)
        allowed = died + 1 <= LIMITS.deadletters or (died + 1) <= LIMITS.share * (good + died + 1)
        assert share.allows_another() == allowed
        if is_good:
            share.add_good(count)
            seen.append((clock.monotonic_s(), count, 0))
        elif allowed:
            share.add_dead()
            seen.append((clock.monotonic_s(), 0, 1))
