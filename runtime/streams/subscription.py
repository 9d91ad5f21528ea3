"""Where Faust hands records over: an agent per topic that admits each event to an intake, and no more."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import faust

from runtime.streams.intake import Intake
from runtime.streams.record import StreamRecord, TopicPartition


@dataclass(frozen=True, slots=True)
class Subscription:
    """Topics whose records are admitted to one intake."""

    name: str
    topics: tuple[str, ...]
    intake: Intake


def attach(app: faust.App, subscription: Subscription) -> None:
    for name in subscription.topics:
        topic = app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        app.agent(topic, name=f"{subscription.name}-{name}")(_agent_body(app, subscription.intake))


def _agent_body(app: faust.App, intake: Intake) -> Callable[[Any], Awaitable[None]]:
    async def admit_all(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            await intake.until_room()
            if message.generation_id != app.consumer_generation_id:
                # What waited before it is forgotten, and all of it is delivered anew.
                continue
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
