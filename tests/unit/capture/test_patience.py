import asyncio

import pytest

from capture.patience import LeavingError, Patience
from runtime.errors import FatalError
from tests.support.capture_parts import no_waits


class Flaky:
    """Fails so many times, then succeeds."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "done"


async def test_passing_failures_are_waited_out() -> None:
    """However many there are."""
    flaky = Flaky(20, ConnectionRefusedError())
    assert await Patience(no_waits).insist(flaky) == "done"
    assert flaky.calls == 21


async def test_a_stray_cancellation_is_a_passing_failure() -> None:
    """A library that cancels a future of its own must not end a slot without a word."""

    class Stray:
        calls = 0

        async def __call__(self) -> str:
            self.calls += 1
            if self.calls == 1:
                raise asyncio.CancelledError
            return "done"

    assert await Patience(no_waits).insist(Stray()) == "done"


async def test_a_wanted_cancellation_is_obeyed() -> None:
    """Whoever cancels the slot gets it."""
    task = asyncio.create_task(Patience(no_waits).insist(asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@pytest.mark.parametrize("error", [FatalError("wrong password"), ZeroDivisionError()])
async def test_what_waiting_cannot_cure_is_raised_at_once(error: Exception) -> None:
    """The caller decides what a bug costs."""
    flaky = Flaky(1, error)
    with pytest.raises(type(error)):
        await Patience(no_waits).insist(flaky)
    assert flaky.calls == 1


async def test_whoever_waits_leaves_when_told() -> None:
    """At once, in the midst of a long wait, and later before waiting at all."""
    patience = Patience(lambda: iter([3600.0]))
    waiting = asyncio.create_task(patience.insist(Flaky(9, ConnectionRefusedError())))
    await asyncio.sleep(0)
    patience.end()
    with pytest.raises(LeavingError):
        await waiting
    with pytest.raises(LeavingError):
        await patience.insist(Flaky(9, ConnectionRefusedError()))


async def test_what_succeeds_is_finished_while_leaving() -> None:
    """A slot ends the capture it holds."""
    patience = Patience(no_waits)
    patience.end()
    assert await patience.insist(Flaky(0, ConnectionRefusedError())) == "done"
