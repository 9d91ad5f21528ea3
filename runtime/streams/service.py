"""The life of a Faust app in a role: attach, start, watch, stop with deadlines."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import faust

from runtime.errors import FatalError, TransientError
from runtime.kafka import wait_for_kafka
from runtime.logging import get_logger
from runtime.process import ProcessContext, guarded
from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from runtime.streams.app import create_app
from runtime.streams.intake import Intake, IntakeClosed
from runtime.streams.record import StreamRecord, TopicPartition
from runtime.streams.settle import LeaveUnfinished, SettleContext, Settler, Work

WORK_STOP_DEADLINE_S: Final = 3.5
APP_STOP_DEADLINE_S: Final = 2.5
REBALANCE_DEADLINE_S: Final = 60.0
WATCH_INTERVAL_S: Final = 0.5

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of work over one or more topics. `batch` bounds what one call of `work` gets."""

    name: str
    topics: tuple[str, ...]
    work: Work
    batch: int = 500


@dataclass(frozen=True, slots=True)
class Subscription:
    """Topics whose records are admitted to one intake."""

    name: str
    topics: tuple[str, ...]
    intake: Intake


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """`group` names the consumer group and so the role and lane."""

    group: str
    kafka: KafkaSettings


@asynccontextmanager
async def run_stages(
    settings: StreamSettings, stages: Sequence[Stage], publisher: Publisher, context: ProcessContext
) -> AsyncIterator[None]:
    """Consume with one task a stage until the block is left.

    On exit the running batches are finished and acknowledged if that takes no longer than
    `WORK_STOP_DEADLINE_S`; everything else stays unacknowledged.
    """
    stopping = asyncio.Event()
    intakes = [Intake(2 * stage.batch, context.clock) for stage in stages]
    subscriptions = [
        Subscription(stage.name, stage.topics, intake) for stage, intake in zip(stages, intakes, strict=True)
    ]
    async with run_app(settings, subscriptions, context):
        tasks = []
        for stage, intake in zip(stages, intakes, strict=True):
            settle_context = SettleContext(stage.name, publisher, context.clock, context.metrics, stopping)
            settler = Settler(stage.work, settle_context)
            work = _work(stage, intake, settler)
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
    app = create_app(settings.group, settings.kafka)
    for subscription in subscriptions:
        _attach(app, subscription)
    context.readiness.add("consumer_group", lambda: _check_membership(app))
    watch = asyncio.create_task(guarded(_watch(app, subscriptions, context), context), name="stream-watch")
    try:
        app.finalize()
        await _start_app(app)
        log.info("consumer_started", group=settings.group)
        yield
    finally:
        watch.cancel()
        await _stop_app(app)


async def _work(stage: Stage, intake: Intake, settler: Settler) -> None:
    try:
        while True:
            batch = await intake.take(stage.batch)
            await settler.settle(batch)
            for record in batch:
                intake.finish(record)
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


def _attach(app: faust.App, subscription: Subscription) -> None:
    for name in subscription.topics:
        topic = app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        app.agent(topic, name=f"{subscription.name}-{name}")(_agent_body(app, subscription.intake))


def _agent_body(app: faust.App, intake: Intake) -> Callable[[Any], Awaitable[None]]:
    async def admit_all(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            await intake.admit(_record(message), _acknowledge(app, event))

    return admit_all


def _record(message: Any) -> StreamRecord:
    return StreamRecord(
        source=TopicPartition(message.topic, message.partition),
        offset=message.offset,
        generation=message.generation_id,
        timestamp_ms=round(message.timestamp * 1000),
        key=message.key,
        value=message.value or b"",
        headers=tuple(message.headers or ()),
    )


def _acknowledge(app: faust.App, event: Any) -> Callable[[], None]:
    def acknowledge() -> None:
        # During a rebalance the offsets are no longer ours to move; the new owner gets the record again.
        if not app.rebalancing and event.message.generation_id == app.consumer_generation_id:
            event.ack()

    return acknowledge


async def _check_membership(app: faust.App) -> None:
    if app.rebalancing or (app.consumer_generation_id or -1) < 0:
        raise TransientError("not a member of the consumer group")


async def _watch(app: faust.App, subscriptions: Sequence[Subscription], context: ProcessContext) -> None:
    rebalancing_since_s: float | None = None
    while True:
        await context.clock.sleep(WATCH_INTERVAL_S)
        if app.crashed:
            raise FatalError("the stream app crashed")
        now_s = context.clock.monotonic_s()
        rebalancing_since_s = (rebalancing_since_s or now_s) if app.rebalancing else None
        if rebalancing_since_s is not None and now_s - rebalancing_since_s > REBALANCE_DEADLINE_S:
            raise FatalError("rebalancing without end")
        for subscription in subscriptions:
            # partitions that went to another member would age for ever
            subscription.intake.ledger.drop_older_than(app.consumer_generation_id or 0)
            gauge = context.metrics.stream_unacked_oldest_seconds.labels(subscription.name)
            gauge.set(subscription.intake.oldest_age_s())


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
