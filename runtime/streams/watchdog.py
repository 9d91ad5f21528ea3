"""Watches over a running app: what cannot go on fails the process, which starts anew."""

from collections.abc import Sequence
from typing import Final

import faust

from runtime.errors import FatalError, TransientError
from runtime.process import ProcessContext
from runtime.streams.subscription import Subscription

REBALANCE_DEADLINE_S: Final = 60.0
WATCH_INTERVAL_S: Final = 0.5


async def check_membership(app: faust.App) -> None:
    if app.rebalancing or (app.consumer_generation_id or -1) < 0:
        raise TransientError("not a member of the consumer group")


async def watch(app: faust.App, subscriptions: Sequence[Subscription], context: ProcessContext) -> None:
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
