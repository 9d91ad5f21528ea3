"""How long to wait before the next try."""

from collections.abc import Iterator


def backoff_s(first_s: float = 0.1, cap_s: float = 5.0) -> Iterator[float]:
    """Doubling waits up to the cap, without end."""
    wait_s = first_s
    while True:
        yield wait_s
        wait_s = min(wait_s * 2, cap_s)
