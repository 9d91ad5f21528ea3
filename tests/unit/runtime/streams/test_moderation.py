"""Fetches are held back only when they come too often."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.streams.moderation import BURST, INTERVAL_S, FetchModeration

GAPS_S = st.lists(st.floats(0, 0.02), min_size=1, max_size=200)


def fetch_times(gaps_s: list[float]) -> tuple[list[float], list[float]]:
    """When each fetch is made and how long it was held back, with so much between one and the next wish."""
    moderation, now_s = FetchModeration(), 1000.0
    times_s, waits_s = [], []
    for gap_s in gaps_s:
        wait_s = moderation.wait_s(now_s + gap_s)
        now_s += gap_s + wait_s
        moderation.fetched(now_s)
        times_s.append(now_s)
        waits_s.append(wait_s)
    return times_s, waits_s


@given(st.lists(st.floats(INTERVAL_S * 1.001, 1), min_size=1, max_size=200))
def test_below_the_rate_nothing_waits(gaps_s: list[float]) -> None:
    """Records that are few are fetched at once."""
    assert not any(fetch_times(gaps_s)[1])


@given(GAPS_S)
def test_nothing_waits_longer_than_an_interval(gaps_s: list[float]) -> None:
    """However many came before."""
    assert all(wait_s <= INTERVAL_S + 1e-9 for wait_s in fetch_times(gaps_s)[1])


@given(GAPS_S)
def test_no_stretch_of_time_has_more_than_its_share(gaps_s: list[float]) -> None:
    """Of any two fetches there are no more between them than the burst and one an interval."""
    times_s, _ = fetch_times(gaps_s)
    for first, began_s in enumerate(times_s):
        for last in range(first, min(first + 40, len(times_s))):
            fetches = last - first + 1
            assert fetches <= BURST + (times_s[last] - began_s) / INTERVAL_S + 1e-6


def test_a_burst_goes_at_once() -> None:
    """The first ones after a calm do not wait, the next does."""
    _, waits_s = fetch_times([0.0] * (BURST + 1))
    assert max(waits_s[:BURST]) < 1e-9
    assert waits_s[BURST] > INTERVAL_S / 2
