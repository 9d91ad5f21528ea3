"""The short way through Faust's drain loop.

`Consumer._drain_messages` wraps each delivery in `Service.wait_first`: four tasks and three turns of the
event loop, more than half of what an event costs. Nearly every delivery ends without waiting for anything.
Then none of what `wait_first` watches for (flow suspended, stopped, crashed) can have come about meanwhile,
since the loop did not turn. So a delivery is driven one step by hand; one that waits goes on in the original.
"""

from collections.abc import Coroutine, Generator
from types import CoroutineType, coroutine
from typing import Any


def step(delivery: Coroutine[Any, Any, object]) -> Coroutine[Any, Any, object] | None:
    """Run a fresh coroutine up to its first wait. None when it has ended, else what is left of it.

    Raises what the coroutine raises. The rest must be awaited or closed.
    """
    try:
        waits_for = delivery.send(None)
    except StopIteration:
        return None
    return _rest(delivery, waits_for)


def is_delivery(waited_for: tuple[Any, ...], timeout: object) -> bool:
    """Whether `wait_first` was called as the drain loop does: a delivery, and the flow's suspension."""
    kinds = tuple(type(one) for one in waited_for)
    return timeout is None and kinds == (CoroutineType, CoroutineType)


async def _rest(delivery: Coroutine[Any, Any, object], waits_for: object) -> object:
    return await _drive(delivery, waits_for)


@coroutine
def _drive(delivery: Coroutine[Any, Any, object], waits_for: object) -> Generator[object, object, object]:
    """What `await` does, for a coroutine that has been started and now waits for a future."""
    try:
        while True:
            try:
                answer = yield waits_for
            except GeneratorExit:
                delivery.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed to the coroutine, as await does
                waits_for = delivery.throw(error)
            else:
                waits_for = delivery.send(answer)
    except StopIteration as end:
        return end.value
