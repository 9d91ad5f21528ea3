"""What ends a process that cannot go on, and what does not."""

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaError

from runtime.clock import Clock
from runtime.errors import FatalError, TransientError
from runtime.process import ProcessContext
from runtime.streams.intake import Intake
from runtime.streams.subscription import Subscription
from runtime.streams.watchdog import (
    LAG_INTERVAL_S,
    Watched,
    WatchLimits,
    check_membership,
    check_progress,
    watch,
    watch_fetching,
)
from tests.support.clock import EagerClock, FakeClock
from tests.support.faust_app import FakeApp
from tests.support.records import record

LIMITS = WatchLimits()


def watched(app: FakeApp, intake: Intake) -> Watched:
    return Watched(app, [Subscription("test", ("signals",), intake)], LIMITS)


@pytest.mark.parametrize(
    "app",
    [FakeApp(rebalancing=True), FakeApp(consumer_generation_id=0), FakeApp(consumer_generation_id=None)],
)
async def test_a_process_outside_of_its_group_is_not_ready(app: FakeApp) -> None:
    """Before it joined, and while the group finds itself anew."""
    with pytest.raises(TransientError):
        await check_membership(watched(app, Intake(1, FakeClock())))
    await check_membership(watched(FakeApp(), Intake(1, FakeClock())))


async def watching(app: FakeApp, clock: Clock, intake: Intake | None = None) -> ProcessContext:
    context = ProcessContext(clock=clock)
    await watch(watched(app, intake or Intake(1, clock)), context)
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
    assert LIMITS.membership_s < clock.monotonic_s() - began_at_s < LIMITS.membership_s + 2


async def test_rebalances_that_end_do_not_add_up() -> None:
    """Many short ones are normal life."""
    clock = FakeClock()
    app = FakeApp(rebalancing=True)
    task = asyncio.create_task(watching(app, clock))
    for _ in range(4):
        await clock.until_sleeping()
        await clock.advance(LIMITS.membership_s / 2)
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
    task = asyncio.create_task(watch(watched(app, intake), context))
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


async def test_a_refusal_of_the_coordinator_ends_the_process() -> None:
    """As for a member whose instance id another process took over; nobody else would ever hear of it."""
    app = FakeApp(coordinator=SimpleNamespace(generation=3, _pending_exception=KafkaError("fenced")))
    with pytest.raises(FatalError, match=r"refused this member: KafkaError: .*fenced"):
        await watching(app, EagerClock())


async def test_an_ended_coordination_ends_the_process() -> None:
    """Without it there are no heartbeats and no new assignments."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ended.set_result(None)
    app = FakeApp(coordinator=SimpleNamespace(generation=3, _coordination_task=ended))
    with pytest.raises(FatalError, match="coordination task has ended"):
        await watching(app, EagerClock())


async def test_a_lost_generation_ends_the_process() -> None:
    """A member that was thrown out and does not come back, though nothing says so."""
    app = FakeApp(coordinator=SimpleNamespace(generation=-1))
    with pytest.raises(TransientError):
        await check_membership(watched(app, Intake(1, FakeClock())))
    with pytest.raises(FatalError, match="outside of the group"):
        await watching(app, EagerClock())


async def test_a_record_in_work_for_too_long_is_told_and_then_ends_the_process() -> None:
    """Readiness fails long before."""
    clock = EagerClock()
    intake = Intake(1, clock)
    await intake.admit(record(1), lambda: None)
    await check_progress(watched(FakeApp(), intake))
    clock.move(LIMITS.unready_s + 1)
    with pytest.raises(TransientError):
        await check_progress(watched(FakeApp(), intake))
    with pytest.raises(FatalError, match="in work for 900 s"):
        await watching(FakeApp(), clock, intake)


async def fetching(lags: Callable[[], int], intake: Intake, clock: FakeClock) -> None:
    async def ask_lag() -> int:
        return lags()

    await watch_fetching(watched(FakeApp(), intake), ask_lag, ProcessContext(clock=clock))


async def test_a_lag_of_which_nothing_arrives_ends_the_process() -> None:
    """After the limit, counted from when it was first seen."""
    clock = EagerClock()
    began_at_s = clock.monotonic_s()
    with pytest.raises(FatalError, match="nothing fetched for 70 s with 3 records waiting"):
        await fetching(lambda: 3, Intake(1, clock), clock)
    assert clock.monotonic_s() - began_at_s == LIMITS.stall_s + 2 * LAG_INTERVAL_S


async def test_a_stall_is_told_before_it_ends_the_process() -> None:
    """Readiness fails at half the limit, and holds again when records arrive."""
    clock = FakeClock()
    intake = Intake(1, clock)
    one = watched(FakeApp(), intake)

    async def ask_lag() -> int:
        return 3

    async def look(times: int) -> None:
        for _ in range(times):
            looks = len(clock.sleeps_s)
            await clock.advance(LAG_INTERVAL_S)
            while len(clock.sleeps_s) == looks:  # noqa: ASYNC110 - the watch tells nobody
                await asyncio.sleep(0)

    task = asyncio.create_task(watch_fetching(one, ask_lag, ProcessContext(clock=clock)))
    await clock.until_sleeping()
    await look(int(LIMITS.stall_s / 2 / LAG_INTERVAL_S) + 1)
    await check_progress(one)
    await look(1)
    with pytest.raises(TransientError, match="none arrives"):
        await check_progress(one)
    intake.admitted += 1
    await look(1)
    await check_progress(one)
    task.cancel()


class Enough(BaseException):
    """Ends a watch that would go on for ever."""


@pytest.mark.parametrize("why", ["no lag", "the broker is away", "records arrive", "records are in work"])
async def test_what_explains_a_lag_does_not_end_the_process(why: str) -> None:
    """However long it goes on."""
    clock = EagerClock()
    intake = Intake(1000, clock)
    rounds = 0
    if why == "records are in work":
        await intake.admit(record(1), lambda: None)

    def lag() -> int:
        nonlocal rounds
        rounds += 1
        if rounds > 50:
            raise Enough
        if why == "the broker is away":
            raise KafkaError
        if why == "records arrive":
            intake.admitted += 1
        return 0 if why == "no lag" else 3

    with pytest.raises(Enough):
        await fetching(lag, intake, clock)


async def evicted(pause_s: float, clock: FakeClock) -> None:
    """Watches a member that gets another id after each pause, some ten times."""
    coordinator = SimpleNamespace(generation=1, member_id="0")
    task = asyncio.create_task(watching(FakeApp(coordinator=coordinator), clock))
    for number in range(10):
        await clock.until_sleeping()
        coordinator.member_id = str(number)
        await clock.advance(pause_s)
        for _ in range(3):
            await asyncio.sleep(0)
        if task.done():
            break
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_member_that_is_thrown_out_again_and_again_ends() -> None:
    """Two processes with one instance id do this to each other for ever."""
    with pytest.raises(FatalError, match="3 times: is another process"):
        await evicted(3.0, FakeClock())


async def test_a_member_that_is_thrown_out_now_and_then_goes_on() -> None:
    """As a restart of the broker may do."""
    await evicted(LIMITS.membership_s * 0.6, FakeClock())
