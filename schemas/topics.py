"""Every topic, declared once. `alerts topics create`, the tests and the deployment read this table."""

from dataclasses import dataclass
from typing import Final

from schemas.plans import Plan

DAY_MS: Final = 24 * 60 * 60 * 1000
MESSAGE_BYTES: Final = 1024 * 1024
LARGE_MESSAGE_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """`local_partitions` is for one node on a laptop, `partitions` for production.

    With `broker_time` records carry the broker's clock, by which the ingress checks its own.
    """

    name: str
    partitions: int
    local_partitions: int
    retention_ms: int | None
    max_message_bytes: int = MESSAGE_BYTES
    broker_time: bool = False

    @property
    def compacted(self) -> bool:
        return self.retention_ms is None


def _capture_topic(plan: Plan) -> Topic:
    # Equal partition counts make Faust's assignor give a worker the same partitions of every plan.
    return Topic(f"captures.{plan}", 60, 4, 3 * DAY_MS)


WEBHOOKS_RAW: Final = Topic("webhooks.raw", 24, 4, 30 * DAY_MS, broker_time=True)
WEBHOOKS_OVERFLOW: Final = Topic("webhooks.overflow", 8, 2, 30 * DAY_MS, broker_time=True)
WEBHOOKS_REPLAY: Final = Topic("webhooks.replay", 8, 2, 7 * DAY_MS)
WEBHOOKS_REFUSED: Final = Topic("webhooks.refused", 4, 1, 7 * DAY_MS)
SIGNALS: Final = Topic("signals", 24, 4, 90 * DAY_MS, LARGE_MESSAGE_BYTES)
SIGNALS_REPLAY: Final = Topic("signals.replay", 8, 2, 7 * DAY_MS, LARGE_MESSAGE_BYTES)
SIGNALS_STORED: Final = Topic("signals.stored", 24, 4, 7 * DAY_MS, LARGE_MESSAGE_BYTES)
CAPTURES: Final[dict[Plan, Topic]] = {plan: _capture_topic(plan) for plan in Plan}
CAPTURE_EVENTS: Final = Topic("captures.events", 24, 4, 30 * DAY_MS)
TENANTS: Final = Topic("tenants", 1, 1, None)
DEADLETTERS: Final = Topic("deadletters", 8, 2, 90 * DAY_MS, LARGE_MESSAGE_BYTES)

TOPICS: Final[tuple[Topic, ...]] = (
    WEBHOOKS_RAW,
    WEBHOOKS_OVERFLOW,
    WEBHOOKS_REPLAY,
    WEBHOOKS_REFUSED,
    SIGNALS,
    SIGNALS_REPLAY,
    SIGNALS_STORED,
    *CAPTURES.values(),
    CAPTURE_EVENTS,
    TENANTS,
    DEADLETTERS,
)
"""All topics, in the order in which data flows through them."""
