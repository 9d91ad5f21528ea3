"""What `alerts offsets` asks of the broker and sets there. Errors are aiokafka's, deadlines in `answered`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from aiokafka.admin import AIOKafkaAdminClient

from runtime.backoff import backoff_s
from runtime.clock import Clock, utc_now
from runtime.consumer_groups import commit_offsets, committed_offsets, held_by, partitions_of, until_empty
from runtime.errors import Failure, FatalError, TransientError, classify
from runtime.kafka import open_admin
from runtime.offsets import (
    STORE_GROUPS,
    VERSION,
    Move,
    SavedOffsets,
    nested,
    newer_than_ms,
    plan_moves,
    unread_rows,
)
from runtime.settings import KafkaSettings

DEADLINE_S: Final = 30.0

Plan = dict[str, list[Move]]
"""By group."""

T = TypeVar("T")


class UnknownGroupError(FatalError):
    """A group was named that the file does not hold."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller of a restore wants. Without groups or topics: all."""

    groups: tuple[str, ...]
    topics: tuple[str, ...]
    wait_s: float

    def includes(self, move: Move) -> bool:
        return not self.topics or move.place.topic in self.topics


async def answered(ask: Callable[[], Awaitable[T]], deadline_s: float = DEADLINE_S) -> T:
    """The answer, asked for again while the broker is away or, being new, makes the topic of its groups."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(deadline_s):
            for wait_s in backoff_s(0.2, 2.0):
                try:
                    return await ask()
                except Exception as error:
                    if classify(error) is not Failure.TRANSIENT:
                        raise
                    last = error
                await asyncio.sleep(wait_s)
    except TimeoutError as error:
        raise TransientError(
            f"Kafka gave no answer within {deadline_s:.0f} s: {last or 'silence'}"
        ) from error
    raise AssertionError("backoff never ends")


async def read_offsets(settings: KafkaSettings, groups: Sequence[str], clock: Clock) -> SavedOffsets:
    """Where these groups are, or, without any, all that feed the store."""
    async with open_admin(settings) as admin:
        offsets = {group: await _positions(settings, admin, group) for group in groups or STORE_GROUPS}
        return SavedOffsets(
            version=VERSION,
            saved_at=utc_now(clock),
            cluster_id=await _cluster_id(admin),
            every_feeder=not groups,
            groups=offsets,
        )


async def unread(settings: KafkaSettings, groups: Sequence[str]) -> list[tuple[str, ...]]:
    """Rows of group, topic, partitions and records not read."""
    rows: list[tuple[str, ...]] = []
    async with open_admin(settings) as admin:
        for group in groups or STORE_GROUPS:
            committed = await committed_offsets(admin, group)
            places = await partitions_of(admin, {place.topic for place in committed})
            rows += unread_rows(group, committed, await held_by(settings, places, 0))
    return rows


async def plan_restore(settings: KafkaSettings, saved: SavedOffsets, wish: Wish) -> Plan:
    """Raises `GroupBusyError` when a group keeps its members, `UnknownGroupError` for one not in the file."""
    unknown = sorted(set(wish.groups) - set(saved.groups))
    if unknown:
        raise UnknownGroupError(f"not in the file: {', '.join(unknown)}; it holds {', '.join(saved.groups)}")
    async with open_admin(settings) as admin:
        groups = set(wish.groups or saved.groups)
        if saved.every_feeder and not wish.groups:
            groups |= set(STORE_GROUPS)
        for group in sorted(groups):
            await until_empty(admin, group, wish.wait_s)
        comparison = Comparison(settings, admin, saved, await _cluster_id(admin) == saved.cluster_id)
        plan = {group: await comparison.moves(group) for group in sorted(groups)}
    return {group: [move for move in moves if wish.includes(move)] for group, moves in plan.items()}


async def set_offsets(settings: KafkaSettings, plan: Plan) -> list[str]:
    """The groups that had anything to set. Repeating it is harmless."""
    done = []
    for group, moves in plan.items():
        targets = {move.place: move.target for move in moves if move.target is not None}
        if targets:
            await commit_offsets(settings, group, targets)
            done.append(group)
    return done


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of a file with the broker; `same_log` when it is of this cluster."""

    settings: KafkaSettings
    admin: AIOKafkaAdminClient
    saved: SavedOffsets
    same_log: bool

    async def moves(self, group: str) -> list[Move]:
        offsets, committed = self.saved.offsets(group), await committed_offsets(self.admin, group)
        places = await partitions_of(self.admin, {place.topic for place in (*offsets, *committed)})
        held = await held_by(self.settings, places, newer_than_ms(self.saved))
        return plan_moves(offsets, committed, held, same_log=self.same_log)


async def _positions(
    settings: KafkaSettings, admin: AIOKafkaAdminClient, group: str
) -> dict[str, dict[int, int]]:
    """Of every partition of the topics that the group has read, committed or not."""
    committed = await committed_offsets(admin, group)
    places = await partitions_of(admin, {place.topic for place in committed})
    held = await held_by(settings, places, 0)
    return nested({place: committed.get(place, held[place].start) for place in places})


async def _cluster_id(admin: AIOKafkaAdminClient) -> str:
    described = await admin.describe_cluster()
    return str(described["cluster_id"])
