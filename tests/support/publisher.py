"""A publisher without a broker."""

import asyncio
from collections.abc import Sequence

from runtime.publisher import Message


class MemoryPublisher:
    """Keeps what is published. `failures` are raised first, one a call; then calls succeed."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.messages: list[Message] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.messages += messages
