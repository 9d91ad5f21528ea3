"""Start and stop of an app, with a stand-in for it."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from runtime.errors import TransientError
from runtime.streams.service import _start_app, _stop_app
from tests.support.faust_app import FakeApp


async def test_a_start_that_ignores_its_end_can_be_left() -> None:
    """Faust waits for its group without end; a stop during the start must not wait with it."""
    reached, released = asyncio.Event(), asyncio.Event()

    async def start() -> None:
        reached.set()
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    starting = asyncio.create_task(_start_app(SimpleNamespace(start=start)))
    await reached.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert starting.cancelled()
    released.set()


async def test_a_start_that_fails_fails_the_role() -> None:
    """The reason reaches whoever started it."""

    async def start() -> None:
        raise TransientError("no group")

    with pytest.raises(TransientError, match="no group"):
        await _start_app(SimpleNamespace(start=start))


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_stop_that_fails_does_not_hide_why_the_role_ends(error: BaseException) -> None:
    """What follows it, such as flushing a producer, still happens."""

    async def stop() -> None:
        raise error

    await _stop_app(SimpleNamespace(stop=stop))


async def test_a_stop_that_hangs_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not committed is delivered again; the process must not wait for Faust."""
    monkeypatch.setattr("runtime.streams.service.APP_STOP_DEADLINE_S", 0.01)
    await _stop_app(FakeApp())
