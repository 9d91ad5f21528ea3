import asyncio

import pytest

from capture.lease import Lease, LeaseLostError
from runtime.clock import SystemClock
from tests.support.clock import FakeClock


async def for_ever(lease: Lease) -> None:
    async with lease.guard():
        await asyncio.Event().wait()


async def test_without_a_renewal_the_work_ends() -> None:
    """Once the time to give up has come."""
    with pytest.raises(LeaseLostError):
        await for_ever(Lease(b"A", 1, SystemClock(), 0.01))


async def test_a_renewal_puts_the_end_off() -> None:
    """It counts from the moment it was sent."""
    clock = FakeClock()
    lease = Lease(b"A", 1, clock, 10)
    working = asyncio.create_task(for_ever(lease))
    await asyncio.sleep(0)
    clock.move(9)
    lease.renewed(clock.monotonic_s())
    await asyncio.sleep(0.01)
    assert not working.done()
    clock.move(10)
    lease.renewed(clock.monotonic_s() - 10)
    with pytest.raises(LeaseLostError):
        await working


async def test_what_is_lost_ends_at_once() -> None:
    """Also what begins only later."""
    lease = Lease(b"A", 1, FakeClock(), 3600)
    working = asyncio.create_task(for_ever(lease))
    await asyncio.sleep(0)
    lease.lose()
    with pytest.raises(LeaseLostError):
        await working
    with pytest.raises(LeaseLostError):
        await for_ever(lease)


async def test_a_timeout_of_the_work_is_its_own() -> None:
    """Only the lease's end is called its loss."""
    with pytest.raises(TimeoutError):
        async with Lease(b"A", 1, FakeClock(), 3600).guard():
            raise TimeoutError
