"""The short way ends as the original would, whatever the delivery waits for."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runtime.streams.drain import is_delivery, step


async def test_a_delivery_that_waits_for_nothing_is_done_at_once() -> None:
    """Without a turn of the loop."""
    done: list[int] = []

    async def deliver() -> None:
        done.append(1)

    assert step(deliver()) is None
    assert done == [1]


async def through_a_future(future: "asyncio.Future[str]") -> str:
    return await future


async def through_a_lock_and_a_task(future: "asyncio.Future[str]") -> str:
    async with asyncio.Lock():
        await asyncio.sleep(0)
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))])
        return await future


@pytest.mark.parametrize("delivery", [through_a_future, through_a_lock_and_a_task])
async def test_a_delivery_that_waits_goes_on_in_a_task(
    delivery: Callable[["asyncio.Future[str]"], Awaitable[str]],
) -> None:
    """From where it waited, however often it waits, and its result is the same."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    rest = step(delivery(future))  # type: ignore[arg-type]  # an async function's result is a coroutine
    assert rest is not None
    task = asyncio.create_task(rest)
    await asyncio.sleep(0.01)
    assert not task.done()
    future.set_result("delivered")
    assert await task == "delivered"


async def test_errors_reach_the_loop_before_and_after_a_wait() -> None:
    """A failing delivery must not look delivered."""

    async def fail(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step(fail(0))
    rest = step(fail(2))
    assert rest is not None
    with pytest.raises(ZeroDivisionError):
        await asyncio.create_task(rest)


async def test_a_cancelled_delivery_cleans_up() -> None:
    """As when the flow is suspended while it waits for room."""
    cleaned: list[str] = []

    async def deliver() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cleaned.append("cancelled")
            raise
        finally:
            cleaned.append("left")

    rest = step(deliver())
    assert rest is not None
    task = asyncio.create_task(rest)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert cleaned == ["cancelled", "left"]


async def test_only_the_drain_loops_own_call_is_taken() -> None:
    """Whatever else a service waits for goes the original's way."""
    event = asyncio.Event()
    pair = event.wait(), event.wait()
    assert is_delivery(pair, None)
    assert not is_delivery(pair, 1.0)
    assert not is_delivery(pair[:1], None)
    assert not is_delivery((pair[0], event), None)
    for one in pair:
        one.close()
