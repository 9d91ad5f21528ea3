"""Lanes: where the webhooks of each come from, where its signals go, and how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.clock import Clock
from runtime.pacer import Pacer
from runtime.streams.record import StreamRecord
from runtime.streams.service import Stage
from runtime.streams.settle import Work
from schemas.groups import GROUPS
from schemas.records import Lane
from schemas.topics import SIGNALS, SIGNALS_REPLAY, WEBHOOKS_OVERFLOW, WEBHOOKS_RAW, WEBHOOKS_REPLAY, Topic

BITE_S: Final = 0.1
"""A paced lane publishes as much at once as its rate allows in this time."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one lane. `name` is that of its process, and of its stage in metrics and dead letters."""

    name: str
    group: str
    source: Topic
    output: Topic
    paced: bool


ROUTES: Final[Mapping[Lane, Route]] = {
    Lane.MAIN: Route("process", GROUPS[WEBHOOKS_RAW], WEBHOOKS_RAW, SIGNALS, paced=False),
    Lane.OVERFLOW: Route(
        "process-overflow", GROUPS[WEBHOOKS_OVERFLOW], WEBHOOKS_OVERFLOW, SIGNALS, paced=True
    ),
    Lane.REPLAY: Route(
        "process-replay", GROUPS[WEBHOOKS_REPLAY], WEBHOOKS_REPLAY, SIGNALS_REPLAY, paced=True
    ),
}
"""Every lane is a consumer group and a process of its own, so that none waits for another."""


def lane_stage(route: Route, work: Work, rate_per_s: float, clock: Clock) -> Stage:
    """The lane's one stage.

    The sink takes the signals of all lanes from one topic, and one batch after the other. A paced lane gives
    it small bites with time between them, which those of the main lane slip through.
    """
    topics = (route.source.name,)
    if not route.paced:
        return Stage(route.name, topics, work)
    pacer = Pacer(rate_per_s, clock)

    async def paced_work(records: Sequence[StreamRecord]) -> None:
        await pacer.until_turn(len(records))
        await work(records)

    return Stage(route.name, topics, paced_work, batch=pacer.records_in(BITE_S))
