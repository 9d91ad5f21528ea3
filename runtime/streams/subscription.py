"""Where Faust hands records over: an agent per topic that admits each event to an intake, and no more."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import faust

from runtime.streams.intake import Intake
from runtime.streams.record import StreamRecord, TopicPartition
from runtime.streams.versions import SPEED, changed

AT_ONCE: Final = 100
"""Events taken before the loop turns; as many as Faust delivers in a turn."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Topics whose records are admitted to one intake."""

    name: str
    topics: tuple[str, ...]
    intake: Intake


class RawSchema(faust.Schema):  # type: ignore[misc]
    """Keys and values stay the bytes they are. Faust's own looks up a codec for each, which does nothing."""

    def compile(self, app: faust.App, **_options: Any) -> Callable[..., Awaitable[Any]]:
        event_type = app.conf.Event

        async def decode(message: Any, **_options: Any) -> Any:
            return event_type(app, message.key, message.value, message.headers, message)

        return decode


def attach(app: faust.App, subscription: Subscription) -> None:
    for name in subscription.topics:
        topic = app.topic(name, schema=RawSchema(key_type=bytes, value_type=bytes))
        app.agent(topic, name=f"{subscription.name}-{name}")(_agent_body(app, subscription.intake))


def _agent_body(app: faust.App, intake: Intake) -> Callable[[Any], Awaitable[None]]:
    is_known = not changed(SPEED)

    async def admit(event: Any) -> None:
        message = event.message
        await intake.until_room()
        if message.generation_id == app.consumer_generation_id:
            await intake.admit(_record(message), _acknowledge(app, event))
        # Else what waited before it is forgotten, and all of it is delivered anew.

    async def admit_all(stream: Any) -> None:
        unacked = stream.noack()
        async for event in unacked.events():
            await admit(event)
            for waiting in _waiting(app, unacked.channel.queue) if is_known else ():
                await admit(waiting)

    return admit_all


def _waiting(app: faust.App, queue: Any) -> Iterator[Any]:
    """What else is in a stream's queue, taken and tracked as the stream itself would.

    That takes a turn of the loop and two generators for each event, a third of all that one costs.
    """
    for _ in range(AT_ONCE):
        if queue.empty():
            return
        event = queue.get_nowait()
        message = event.message
        if app.flow_control.is_active() and message.generation_id == app.consumer_generation_id:
            message.tracked = True
            app.consumer.unacked.add(message)
            yield event


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
