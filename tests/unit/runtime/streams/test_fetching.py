"""A fetch is held back only when it asks for everything."""

from types import SimpleNamespace
from typing import Any

from runtime.streams.fetching import BUSY_WAIT_MS, shorten_waits


def test_a_fetch_beside_unread_records_is_not_held_back() -> None:
    """Its partitions are not in that fetch, so nothing else would end it when they are read."""
    asked: list[tuple[int, Any]] = []
    fetcher = SimpleNamespace(_records={}, _fetch_max_wait_ms=1500)
    fetcher._get_actions_per_node = lambda assignment: asked.append((fetcher._fetch_max_wait_ms, assignment))
    shorten_waits(fetcher)
    for records in ({}, {("signals", 0): "unread"}, {}):
        fetcher._records = records
        fetcher._get_actions_per_node("assignment")
    assert asked == [(1500, "assignment"), (BUSY_WAIT_MS, "assignment"), (1500, "assignment")]
