"""What ends a process that cannot go on, and what does not."""

import asyncio

import pytest

from runtime.clock import Clock
from runtime.errors import FatalError, TransientError
from runtime.process import ProcessContext
from runtime.streams.intake import Intake
from runtime.streams.subscription import Subscription
from runtime.streams.watchdog import REBALANCE_DEADLINE_S, check_membership, watch
from tests.support.clock import EagerClock, FakeClock
from tests.support.faust_app import FakeApp
from tests.support.records import record


@pytest.mark.parametrize(
    "app",
    [FakeApp(rebalancing=True), FakeApp(consumer_generation_id=0), FakeApp(consumer_generation_id=None)],
)
async def test_a_process_outside_of_its_group_is_not_ready(app: FakeApp) -> None:
    """Before it joined, and while the group finds itself anew."""
    with pytest.raises(TransientError):
        await check_membership(app)
    await check_membership(FakeApp())


async def watching(app: FakeApp, clock: Clock, intake: Intake | None = None) -> ProcessContext:
    context = ProcessContext(clock=clock)
    subscription = Subscription("test", ("signals",), intake or Intake(1, clock))
    await watch(app, [subscription], context)
    return context


async def test_a_crashed_app_ends_the_process() -> None:
    """The supervisor starts a clean one."""
    with pytest.raises(FatalError, match="crashed"):
        await watching(FakeApp(crashed=True), EagerClock())


async def test_a_rebalance_without_end_ends_the_process() -> None:
    """After the deadline, counted from its beginning."""
    clock = EagerClock()
    began_at_s = clock.monotonic_s()
    with pytest.raises(FatalError, match="rebalancing"):
        await watching(FakeApp(rebalancing=True), clock)
    assert REBALANCE_DEADLINE_S < clock.monotonic_s() - began_at_s < REBALANCE_DEADLINE_S + 2


async def test_rebalances_that_end_do_not_add_up() -> None:
    """Many short ones are normal life."""
    clock = FakeClock()
    app = FakeApp(rebalancing=True)
    task = asyncio.create_task(watching(app, clock))
    for _ in range(4):
        await clock.until_sleeping()
        await clock.advance(REBALANCE_DEADLINE_S / 2)
        await asyncio.sleep(0)
        app.rebalancing = not app.rebalancing
    await clock.until_sleeping()
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_records_of_lost_partitions_stop_aging() -> None:
    """The age of the oldest record in work is that of work which is still ours."""
    clock = FakeClock()
    intake = Intake(10, clock)
    await intake.admit(record(1, generation=1), lambda: None)
    app = FakeApp()
    context = ProcessContext(clock=clock)
    task = asyncio.create_task(watch(app, [Subscription("test", ("signals",), intake)], context))
    ages = []
    for generation in (1, 2):
        app.consumer_generation_id = generation
        await clock.until_sleeping()
        await clock.advance(10)
        await asyncio.sleep(0)
        await clock.until_sleeping()
        registry = context.metrics.registry
        ages.append(registry.get_sample_value("alerts_stream_unacked_oldest_seconds", {"stage": "test"}))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ages == [10.0, 0.0]
