"""Periodic work that outlives an outage."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from runtime.errors import FatalError, TransientError
from runtime.metrics import create_metrics
from sinks.housekeeping import ENSURE_EVERY_S, RETAIN_EVERY_S, RETRY_S, Housekeeping
from sinks.partitions import Partitions
from sinks.retention import OwnerNeededError, Retained, Retention
from tests.support.clock import FakeClock


class FakePartitions(Partitions):
    def __init__(self, outcomes: list[Exception | None]) -> None:
        self.outcomes = outcomes
        self.calls = 0

    async def ensure(self, now: datetime) -> list[str]:
        self.calls += 1
        if self.outcomes and (error := self.outcomes.pop(0)):
            raise error
        return [f"made_{now:%Y}"]


class FakeRetention(Retention):
    def __init__(self, outcomes: list[Exception | None]) -> None:
        self.outcomes = outcomes
        self.calls = 0

    async def run(self) -> Retained | None:
        self.calls += 1
        if self.outcomes and (error := self.outcomes.pop(0)):
            raise error
        return Retained([], [], {"signals": 1})


class Bench:
    def __init__(
        self,
        partitions: list[Exception | None] | None = None,
        retention: list[Exception | None] | None = None,
    ) -> None:
        self.partitions = FakePartitions(partitions or [])
        self.retention = FakeRetention(retention or [])
        self.clock = FakeClock()
        self.housekeeping = Housekeeping(self.partitions, self.retention, self.clock, create_metrics())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.housekeeping.run())
        try:
            await self.settle()
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.settle()

    async def settle(self) -> None:
        """Until both jobs have done what is theirs to do now: a few turns of the loop."""
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def calls(self) -> tuple[int, int]:
        return self.partitions.calls, self.retention.calls


async def test_both_jobs_run_at_the_start_and_then_at_their_intervals() -> None:
    """Partitions more often than retention."""
    bench = Bench()
    async with bench.running():
        assert bench.calls == (1, 1)
        await bench.pass_time(ENSURE_EVERY_S)
        assert bench.calls == (2, 1)
        await bench.pass_time(RETAIN_EVERY_S - ENSURE_EVERY_S)
        assert bench.calls == (3, 2)


async def test_a_database_that_is_away_is_asked_again_soon() -> None:
    """The job that failed is repeated, the other one keeps its interval."""
    bench = Bench(partitions=[TransientError("away"), OSError("away")])
    async with bench.running():
        await bench.pass_time(RETRY_S)
        assert bench.calls == (2, 1)
        await bench.pass_time(RETRY_S)
        assert bench.calls == (3, 1)
        await bench.pass_time(RETRY_S)
        assert bench.calls == (3, 1)


async def test_retention_by_a_role_that_may_not_is_skipped() -> None:
    """It is told once per interval; the sink goes on."""
    bench = Bench(retention=[OwnerNeededError("set SINK_OWNER_URL")])
    with capture_logs() as logs:
        async with bench.running():
            await bench.pass_time(RETRY_S)
            assert bench.calls == (1, 1)
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["retention_skipped"]


@pytest.mark.parametrize("error", [FatalError("wrong"), ValueError("bug")])
async def test_what_is_no_outage_ends_the_process(error: Exception) -> None:
    """Its own error comes out, not a group, and nothing keeps running."""
    bench = Bench(retention=[error])
    with pytest.raises(type(error)):
        await bench.housekeeping.run()
    await bench.pass_time(ENSURE_EVERY_S)
    assert bench.calls == (1, 1)
