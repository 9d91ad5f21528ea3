"""How long a broker may hold a fetch back while some of what it sent lies unread.

aiokafka asks for no more of a partition until what came of it is read, and has one fetch at a time with a
broker. After 0.1 s it asks for the other partitions alone; when these are idle, the broker holds that fetch
for as long as it may, 1.5 s with Faust. A backlog that is read up meanwhile then waits for nothing: seen as
half a second of standstill and more after every 16 MiB.
"""

from typing import Any, Final

BUSY_WAIT_MS: Final = 50


def shorten_waits(fetcher: Any) -> None:
    """Of an aiokafka `Fetcher`: while records are unread its fetches wait `BUSY_WAIT_MS` at most.

    With nothing unread all partitions are part of a fetch, and it may wait as long as it was made to.
    """
    actions, idle_wait_ms = fetcher._get_actions_per_node, fetcher._fetch_max_wait_ms  # noqa: SLF001 - no other way

    def actions_per_node(assignment: Any) -> Any:
        fetcher._fetch_max_wait_ms = BUSY_WAIT_MS if fetcher._records else idle_wait_ms  # noqa: SLF001 - likewise
        return actions(assignment)

    fetcher._get_actions_per_node = actions_per_node  # noqa: SLF001 - likewise
