import asyncio

import pytest

from runtime.errors import TransientError
from runtime.readiness import Readiness


async def fine() -> None:
    await asyncio.sleep(0)


async def away() -> None:
    raise TransientError("postgresql://alerts:s3cr3t@db")


async def test_ready_means_that_no_check_fails() -> None:
    """A process without checks is ready too."""
    readiness = Readiness()
    assert await readiness.problems() == {}
    readiness.add("one", fine)
    assert await readiness.problems() == {}


async def test_what_fails_is_named_without_its_text() -> None:
    """Every failing check by name and kind; a message may hold an address or a secret."""
    readiness = Readiness()
    readiness.add("database", away)
    readiness.add("fine", fine)
    assert await readiness.problems() == {"database": "TransientError"}


async def test_a_check_that_hangs_fails_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is one for all, since they run together."""
    monkeypatch.setattr("runtime.readiness.CHECK_DEADLINE_S", 0.01)
    readiness = Readiness()
    both = asyncio.Barrier(2)

    async def hang() -> None:
        await both.wait()
        await asyncio.Event().wait()

    readiness.add("one", hang)
    readiness.add("two", hang)
    assert await readiness.problems() == {"one": "TimeoutError", "two": "TimeoutError"}


async def test_recovery_is_seen() -> None:
    """Checks run anew each time."""
    readiness = Readiness()
    broken = [True]

    async def check() -> None:
        if broken[0]:
            raise TransientError("away")

    readiness.add("one", check)
    assert await readiness.problems()
    broken[0] = False
    assert await readiness.problems() == {}
