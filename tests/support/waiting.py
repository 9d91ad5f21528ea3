"""Waiting for what tells nobody that it has changed: rows, topics, gauges, other processes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

_DEADLINE_S: Final = 60
_POLL_S: Final = 0.02


async def eventually(question: Callable[[], Awaitable[T | None]]) -> T:
    """The first answer that is true. Fails with `TimeoutError`."""
    async with asyncio.timeout(_DEADLINE_S):
        while not (answer := await question()):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_POLL_S)
    return answer
