"""The life of a Faust app in a role: attach, start, watch, stop with deadlines."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import faust

from runtime.errors import TransientError
from runtime.kafka import wait_for_kafka
from runtime.logging import get_logger
from runtime.process import ProcessContext, guarded
from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from runtime.streams.app import SESSION_TIMEOUT_S, create_app
from runtime.streams.intake import Intake, IntakeClosed, Portion
from runtime.streams.lag import group_lag
from runtime.streams.settle import LeaveUnfinished, SettleContext, Settler, Work
from runtime.streams.subscription import Subscription, attach
from runtime.streams.watchdog import (
    Watched,
    WatchLimits,
    check_membership,
    check_progress,
    watch,
    watch_fetching,
)

WORK_STOP_DEADLINE_S: Final = 3.5
APP_STOP_DEADLINE_S: Final = 2.5
WATCH_STOP_DEADLINE_S: Final = 0.5
UNREADY_WORK_S: Final = 10.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of work over one or more topics.

    `batch` bounds what one call of `work` gets, `parallel` how many calls run at a time. With more than one,
    no two of them have records of one key, and records of a partition may be finished in any order; they are
    acknowledged in order all the same.
    """

    name: str
    topics: tuple[str, ...]
    work: Work
    batch: int = 500
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """`group` names the consumer group and so the role and lane."""

    group: str
    kafka: KafkaSettings
    limits: WatchLimits = field(default_factory=WatchLimits)
    session_timeout_s: float = SESSION_TIMEOUT_S


@asynccontextmanager
async def run_stages(
    settings: StreamSettings, stages: Sequence[Stage], publisher: Publisher, context: ProcessContext
) -> AsyncIterator[None]:
    """Consume with the stages' tasks until the block is left.

    On exit the running batches are finished and acknowledged if that takes no longer than
    `WORK_STOP_DEADLINE_S`; everything else stays unacknowledged.
    """
    stopping = asyncio.Event()
    intakes = [Intake(2 * stage.batch * stage.parallel, context.clock) for stage in stages]
    subscriptions = [
        Subscription(stage.name, stage.topics, intake) for stage, intake in zip(stages, intakes, strict=True)
    ]
    async with run_app(settings, subscriptions, context):
        tasks = []
        for stage, intake in zip(stages, intakes, strict=True):
            settle_context = SettleContext(
                stage.name, intake, publisher, context.clock, context.metrics, stopping
            )
            settler = Settler(stage.work, settle_context)
            context.readiness.add(f"work_{stage.name}", partial(check_work, settler))
            for number in range(stage.parallel):
                work = _work(stage.batch, Portion(number, stage.parallel), intake, settler)
                tasks.append(asyncio.create_task(guarded(work, context), name=stage.name))
        try:
            yield
        finally:
            stopping.set()
            await _stop_work(tasks, intakes)


@asynccontextmanager
async def run_app(
    settings: StreamSettings, subscriptions: Sequence[Subscription], context: ProcessContext
) -> AsyncIterator[None]:
    """Feed the intakes from one Faust app until the block is left; acknowledged offsets are then committed.

    Waits for a broker first. A crash of the app or a rebalance without end fails the process.
    """
    await wait_for_kafka(settings.kafka)
    app = create_app(settings.group, settings.kafka, settings.session_timeout_s)
    for subscription in subscriptions:
        attach(app, subscription)
    watched = Watched(app, subscriptions, settings.limits)

    async def ask_lag() -> int:
        return await group_lag(settings.kafka, settings.group, app.consumer.assignment())

    context.readiness.add("consumer_group", lambda: check_membership(watched))
    context.readiness.add("stream_progress", lambda: check_progress(watched))
    watching = [
        asyncio.create_task(guarded(watch(watched, context), context), name="stream-watch"),
        asyncio.create_task(guarded(watch_fetching(watched, ask_lag, context), context), name="lag-watch"),
    ]
    try:
        app.finalize()
        await _start_app(app)
        log.info("consumer_started", group=settings.group)
        yield
    finally:
        await _cancel(watching)
        await _stop_app(app)


async def check_work(settler: Settler) -> None:
    """For readiness: a dependency may answer a ping and take no work, as a database with a full disk."""
    if settler.failing_s() > UNREADY_WORK_S:
        raise TransientError("work has been failing for some time")


async def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=WATCH_STOP_DEADLINE_S)


async def _work(batch: int, portion: Portion, intake: Intake, settler: Settler) -> None:
    try:
        while True:
            records = await intake.take(batch, portion)
            try:
                await settler.settle(records)
            finally:
                intake.release(records)
    except (IntakeClosed, LeaveUnfinished):
        return


async def _stop_work(tasks: Sequence["asyncio.Task[None]"], intakes: Sequence[Intake]) -> None:
    for intake in intakes:
        await intake.close()
    _done, late = await asyncio.wait(tasks, timeout=WORK_STOP_DEADLINE_S)
    for task in late:
        log.warning("work_abandoned", stage=task.get_name())
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _start_app(app: faust.App) -> None:
    # Faust's start ignores cancellation while it waits for the group: in a task of its own it can be left.
    starting = asyncio.create_task(app.start(), name="stream-start")
    try:
        await asyncio.wait({starting})
    except asyncio.CancelledError:
        starting.cancel()
        raise
    starting.result()


async def _stop_app(app: faust.App) -> None:
    stopping = asyncio.create_task(app.stop(), name="stream-stop")
    _done, late = await asyncio.wait({stopping}, timeout=APP_STOP_DEADLINE_S)
    if late:
        log.warning("consumer_stop_abandoned")
        stopping.cancel()
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.warning("consumer_stop_failed", error=type(error).__name__)
