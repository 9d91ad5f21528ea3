"""How much work the capture group has before it, and how fast it gets through: measured at the broker."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runtime.clock import Clock
from runtime.kafka import CLIENT_STOP_DEADLINE_S, create_consumer, open_admin, stop_client
from runtime.logging import get_logger
from runtime.process import ProcessContext
from runtime.settings import KafkaSettings
from schemas.plans import Plan
from schemas.topics import CAPTURES

CAPTURE_GROUP: Final = "alerts.capture"
MEASURE_INTERVAL_S: Final = 2.0
MEASURE_DEADLINE_S: Final = 5.0
STALE_AFTER_S: Final = 15.0
ASSUMED_RATE_PER_S: Final = 2.0
"""Pictures a second assumed of a worker until a rate has been seen."""

SLOWEST_RATE_PER_S: Final = 0.1
"""Pictures a second below which a group counts as standing still: the estimate grows no further."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PipelineHealth:
    """`known` is false when the broker has not been asked successfully of late."""

    queue_length: int
    active_workers: int
    known: bool

    def answer(self, uptime_s: float) -> dict[str, object]:
        """The body of `GET /health` of ingress and API."""
        return {
            "status": "ok" if self.known else "degraded",
            "queue_length": self.queue_length,
            "active_workers": self.active_workers,
            "uptime": int(uptime_s),
        }


@dataclass(frozen=True, slots=True)
class Measurement:
    """Committed and end offsets summed by plan, and the live members of the group."""

    committed: Mapping[Plan, int]
    end: Mapping[Plan, int]
    workers: int
    at_s: float

    def waiting(self, plan: Plan) -> int:
        return max(0, self.end[plan] - self.committed[plan])


class Backlog:
    """The newest measurement and the rate seen between measurements (moving average)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: Measurement | None = None
        self._rate_per_s: float | None = None
        self._waits_s = dict.fromkeys(Plan, math.ceil(1 / ASSUMED_RATE_PER_S))

    def observe(self, measurement: Measurement) -> None:
        self._note_rate(measurement)
        self._waits_s = {plan: self._wait_s(measurement, plan) for plan in Plan}

    def _note_rate(self, measurement: Measurement) -> None:
        previous, self._latest = self._latest, measurement
        if previous is None or measurement.at_s <= previous.at_s:
            return
        done = sum(measurement.committed.values()) - sum(previous.committed.values())
        busy = any(previous.waiting(plan) for plan in Plan)
        if busy and done >= 0:
            rate_per_s = done / (measurement.at_s - previous.at_s)
            known = self._rate_per_s
            self._rate_per_s = rate_per_s if known is None else 0.7 * known + 0.3 * rate_per_s

    def health(self) -> PipelineHealth:
        latest = self._latest
        if latest is None:
            return PipelineHealth(0, 0, known=False)
        known = self._clock.monotonic_s() - latest.at_s <= STALE_AFTER_S
        return PipelineHealth(sum(latest.waiting(plan) for plan in Plan), latest.workers, known)

    def estimated_wait_s(self, plan: Plan) -> int:
        """Seconds until a capture asked for now is done: what waits at this plan or above, and one render."""
        return self._waits_s[plan]

    def _wait_s(self, latest: Measurement, plan: Plan) -> int:
        plans = list(Plan)
        ahead = sum(latest.waiting(other) for other in plans[: plans.index(plan) + 1])
        rate_per_s = self._rate_per_s
        if rate_per_s is None:
            rate_per_s = ASSUMED_RATE_PER_S * max(1, latest.workers)
        return math.ceil((ahead + 1) / max(rate_per_s, SLOWEST_RATE_PER_S))


@asynccontextmanager
async def open_backlog(settings: KafkaSettings, context: ProcessContext) -> AsyncIterator[Backlog]:
    """A backlog that is measured in the background until the block is left. Never fails the process."""
    backlog = Backlog(context.clock)
    measuring = asyncio.create_task(_measure_for_ever(settings, backlog, context.clock), name="backlog")
    try:
        yield backlog
    finally:
        measuring.cancel()
        await asyncio.wait({measuring}, timeout=2 * CLIENT_STOP_DEADLINE_S)


async def _measure_for_ever(settings: KafkaSettings, backlog: Backlog, clock: Clock) -> None:
    while True:
        try:
            await _measure_until_failure(settings, backlog, clock)
        except Exception as error:  # noqa: BLE001 - the figure is an estimate; the next round starts anew
            log.debug("backlog_unknown", error=type(error).__name__)
        await clock.sleep(MEASURE_INTERVAL_S)


async def _measure_until_failure(settings: KafkaSettings, backlog: Backlog, clock: Clock) -> None:
    consumer = create_consumer(settings, "alerts-backlog")
    try:
        async with asyncio.timeout(MEASURE_DEADLINE_S):
            await consumer.start()
        async with open_admin(settings) as admin:
            while True:
                async with asyncio.timeout(MEASURE_DEADLINE_S):
                    backlog.observe(await _measure(admin, consumer, clock))
                await clock.sleep(MEASURE_INTERVAL_S)
    finally:
        await stop_client(consumer.stop())


async def _measure(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, clock: Clock) -> Measurement:
    partitions = await _partitions(admin)
    every = [partition for group in partitions.values() for partition in group]
    ends = await consumer.end_offsets(every)
    starts = await consumer.beginning_offsets(every)
    committed = await admin.list_consumer_group_offsets(CAPTURE_GROUP, partitions=every)

    def position(partition: TopicPartition) -> int:
        offset = committed[partition].offset if partition in committed else -1
        return int(offset) if offset >= 0 else int(starts[partition])

    return Measurement(
        committed={plan: sum(map(position, group)) for plan, group in partitions.items()},
        end={plan: sum(int(ends[partition]) for partition in group) for plan, group in partitions.items()},
        workers=await _workers(admin),
        at_s=clock.monotonic_s(),
    )


async def _partitions(admin: AIOKafkaAdminClient) -> dict[Plan, list[TopicPartition]]:
    described = await admin.describe_topics([topic.name for topic in CAPTURES.values()])
    counts = {item["topic"]: len(item["partitions"]) for item in described}
    return {
        plan: [TopicPartition(topic.name, number) for number in range(counts[topic.name])]
        for plan, topic in CAPTURES.items()
    }


async def _workers(admin: AIOKafkaAdminClient) -> int:
    responses = await admin.describe_consumer_groups([CAPTURE_GROUP])
    groups = [group for response in responses for group in response.to_object()["groups"]]
    return sum(len(group["members"]) for group in groups)
