"""How often records are fetched: at once while they are few, together while they are many.

A fetch costs some milliseconds on its way through all roles, however few records it brings. Without this a
machine whose cores are full makes more and smaller batches of the same records, and the more it does so the
fuller they get. Network cards moderate their interrupts for the same reason.
"""

from typing import Final

INTERVAL_S: Final = 0.005
BURST: Final = 4


class FetchModeration:
    """Tells how long to wait before the next fetch. Times are monotonic seconds.

    `BURST` fetches that brought something may follow each other at once, and one more for each `INTERVAL_S`
    (the generic cell rate algorithm): below that rate nothing ever waits, above it nothing waits longer than
    `INTERVAL_S`.
    """

    def __init__(self, interval_s: float = INTERVAL_S, burst: int = BURST) -> None:
        self._interval_s = interval_s
        self._tolerance_s = (burst - 1) * interval_s
        self._due_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """0 when it may be made now."""
        return max(0.0, self._due_s - self._tolerance_s - now_s)

    def fetched(self, now_s: float) -> None:
        """One has brought something."""
        self._due_s = max(now_s, self._due_s) + self._interval_s
