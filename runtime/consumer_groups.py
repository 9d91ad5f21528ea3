"""Consumer groups as an operator sees them: who is in one, where it is, and how to set where it goes on.

Errors are aiokafka's; the deadline is the caller's.
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, for_code

from runtime.errors import FatalError
from runtime.kafka import connection_options, create_consumer, stop_client
from runtime.offsets import Held, Offsets
from runtime.settings import KafkaSettings

_POLL_S: Final = 0.5


class GroupBusyError(FatalError):
    """A group has members: they would go on from where they are, and commit over what was set."""

    def __init__(self, group: str, members: int) -> None:
        super().__init__(
            f"the group {group} has {members} running members: stop every process of it first (for the store"
            " `alerts sink`). One that has just been stopped may count for 15 s more; --wait waits for it."
        )


async def member_count(admin: AIOKafkaAdminClient, group: str) -> int:
    """0 for a group that does not exist. Raises while the coordinator is still loading."""
    [response] = await admin.describe_consumer_groups([group])
    [described] = response.to_object()["groups"]
    if described["error_code"]:
        raise for_code(described["error_code"])(group)
    return len(described["members"])


async def until_empty(admin: AIOKafkaAdminClient, group: str, wait_s: float) -> None:
    """Returns when the group has no members. Raises `GroupBusyError` after `wait_s`."""
    loop = asyncio.get_running_loop()
    give_up_at_s = loop.time() + wait_s
    while members := await member_count(admin, group):
        if loop.time() >= give_up_at_s:
            raise GroupBusyError(group, members)
        await asyncio.sleep(_POLL_S)


async def committed_offsets(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    """Every partition that the group has committed."""
    # aiokafka takes the answer of a coordinator that is still loading for one without offsets
    await member_count(admin, group)
    offsets = await admin.list_consumer_group_offsets(group)
    return {place: int(committed.offset) for place, committed in offsets.items() if committed.offset >= 0}


async def partitions_of(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> list[TopicPartition]:
    """Of those topics that exist."""
    existing = sorted(set(topics) & set(await admin.list_topics()))
    if not existing:
        return []
    return [
        TopicPartition(item["topic"], number)
        for item in await admin.describe_topics(existing)
        for number in range(len(item["partitions"]))
    ]


async def held_by(
    settings: KafkaSettings, places: Collection[TopicPartition], newer_than_ms: int
) -> dict[TopicPartition, Held]:
    """What the partitions hold; `Held.newer` is the first record of this time or later."""
    if not places:
        return {}
    consumer = create_consumer(settings, "alerts-offsets")
    try:
        await consumer.start()
        starts = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        newer = await consumer.offsets_for_times(dict.fromkeys(places, newer_than_ms))
    finally:
        await stop_client(consumer.stop())
    first = {place: int(at.offset) for place, at in newer.items() if at is not None}
    return {place: Held(int(starts[place]), int(ends[place]), first.get(place)) for place in places}


async def commit_offsets(settings: KafkaSettings, group: str, offsets: Offsets) -> None:
    """Set where the group goes on: all of it in one request. Raises `GroupBusyError` when somebody joined."""
    consumer = AIOKafkaConsumer(
        **connection_options(settings),
        client_id="alerts-offsets",
        group_id=group,
        enable_auto_commit=False,
        request_timeout_ms=10_000,
    )
    try:
        await consumer.start()
        consumer.assign(list(offsets))
        # nothing is read; an assigned partition would be fetched
        consumer.pause(*offsets)
        await consumer.commit(dict(offsets))
    except CommitFailedError as error:
        raise GroupBusyError(group, 1) from error
    finally:
        await stop_client(consumer.stop())
