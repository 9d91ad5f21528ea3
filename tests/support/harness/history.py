"""What happened in a campaign, and whether it may have happened."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ended:
    """A process's end. `ending`: exit code, negative for a signal, or "hung" beyond its deadline."""

    worker: str
    ending: int | str


@dataclass(frozen=True, slots=True)
class History:
    """Everything that was recorded once all had become calm.

    `accepted` maps the ids that the producer got an ack for to their partition, in the order of the log.
    `began` are all deliveries, `done` the deliveries with an effect in the order of their effects, repeats
    included. `committed` and `ends` are offsets by partition. `serial`: one event of a partition at a time.
    """

    accepted: Mapping[str, int]
    effects: frozenset[str]
    dead_letters: frozenset[str]
    began: Sequence[str]
    done: Sequence[str]
    committed: Mapping[int, int]
    ends: Mapping[int, int]
    endings: Sequence[Ended]
    serial: bool


def violations(history: History) -> list[str]:
    """Every broken promise in words; empty when all were kept."""
    return [*_lost_or_invented(history), *_offsets(history), *_disorder(history), *_hung(history)]


def _lost_or_invented(history: History) -> Iterator[str]:
    accepted = history.accepted.keys()
    outcomes = history.effects | history.dead_letters
    yield from _each("lost", accepted - outcomes)
    yield from _each("invented", outcomes - accepted)
    yield from _each("both effect and dead letter", history.effects & history.dead_letters)
    yield from _each("outcome without a delivery", outcomes - set(history.began))
    yield from _each("effect that nobody did", history.effects - set(history.done))


def _offsets(history: History) -> Iterator[str]:
    for partition, end in sorted(history.ends.items()):
        committed = history.committed.get(partition, 0)
        if committed != end:
            yield f"partition {partition}: committed {committed}, end {end}"


def _disorder(history: History) -> Iterator[str]:
    """An event's first effect came after that of a later event of its partition."""
    if not history.serial:
        return
    place = {event_id: number for number, event_id in enumerate(history.accepted)}
    latest: dict[int, int] = defaultdict(lambda: -1)
    # the first effect counts, repeats are normal
    for event_id in dict.fromkeys(history.done):
        if event_id not in place:
            continue
        partition = history.accepted[event_id]
        if place[event_id] < latest[partition]:
            yield f"out of order: {event_id}"
        latest[partition] = max(latest[partition], place[event_id])


def _hung(history: History) -> Iterator[str]:
    for ended in history.endings:
        if ended.ending == "hung":
            yield f"hung: {ended.worker}"


def _each(what: str, ids: frozenset[str] | set[str]) -> Iterator[str]:
    for event_id in sorted(ids):
        yield f"{what}: {event_id}"
