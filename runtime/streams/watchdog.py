"""Watches over a running app: what cannot go on fails the process, which starts anew.

| what is seen                                                  | limit                         |
| ------------------------------------------------------------- | ----------------------------- |
| the app crashed; the coordinator refused us                   | at once                       |
| thrown out of the group again and again: an id used twice     | `evictions` in `membership_s` |
| not a member of the group, or rebalancing, without a break    | `membership_s`                |
| the broker shows lag, nothing is in work and nothing comes    | `stall_s`, unready at half    |
| a record is in work for too long                              | `unready_s`, then `unacked_s` |

A clean restart costs nothing: what is not acknowledged is delivered again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import faust

from runtime.errors import FatalError, TransientError
from runtime.logging import get_logger
from runtime.process import ProcessContext
from runtime.streams.membership import coordination_error, is_member, member_id
from runtime.streams.subscription import Subscription

WATCH_INTERVAL_S: Final = 0.5
LAG_INTERVAL_S: Final = 10.0
LAG_DEADLINE_S: Final = 5.0

log = get_logger(__name__)

AskLag = Callable[[], Awaitable[int]]
"""Records of our partitions that the group has not committed; raises when the broker does not answer."""


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """`unacked_s` is well above the work's own deadline and a common outage; ending earlier cures nothing."""

    membership_s: float = 60.0
    evictions: int = 3
    stall_s: float = 60.0
    unready_s: float = 120.0
    unacked_s: float = 900.0


class Lasting:
    """How long something has been so without a break; `lasted_s` as of the last observation."""

    def __init__(self) -> None:
        self.lasted_s = 0.0
        self._since_s: float | None = None

    def observe(self, holds: bool, now_s: float) -> float:  # noqa: FBT001 - the one thing it is told
        if not holds:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        self.lasted_s = 0.0 if self._since_s is None else now_s - self._since_s
        return self.lasted_s


class Evictions:
    """How often of late the group has given us another member id."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._known = ""
        self._at_s: deque[float] = deque()

    def observe(self, known: str, now_s: float) -> int:
        if known and known != self._known:
            if self._known:
                self._at_s.append(now_s)
            self._known = known
        while self._at_s and self._at_s[0] < now_s - self._window_s:
            self._at_s.popleft()
        return len(self._at_s)


@dataclass(frozen=True, slots=True)
class Watched:
    app: faust.App
    subscriptions: Sequence[Subscription]
    limits: WatchLimits
    stall: Lasting = field(default_factory=Lasting)

    def oldest_age_s(self) -> float:
        return max((one.intake.oldest_age_s() for one in self.subscriptions), default=0.0)

    def admitted(self) -> int:
        return sum(one.intake.admitted for one in self.subscriptions)


async def check_membership(watched: Watched) -> None:
    """For readiness."""
    if not is_member(watched.app):
        raise TransientError("not a member of the consumer group")


async def check_progress(watched: Watched) -> None:
    """For readiness: fails before the process is ended."""
    if watched.oldest_age_s() > watched.limits.unready_s:
        raise TransientError("a record has been in work for too long")
    if watched.stall.lasted_s > watched.limits.stall_s / 2:
        raise TransientError("the broker has records for us and none arrives")


async def watch(watched: Watched, context: ProcessContext) -> None:
    """Returns never; raises `FatalError` for all that can be seen from here."""
    outside, evictions = Lasting(), Evictions(watched.limits.membership_s)
    while True:
        await context.clock.sleep(WATCH_INTERVAL_S)
        if watched.app.crashed:
            raise FatalError("the stream app crashed")
        error = coordination_error(watched.app)
        if error is not None:
            raise FatalError(f"the group's coordinator refused this member: {error}")
        _check_evictions(watched, evictions, context)
        outside_s = outside.observe(not is_member(watched.app), context.clock.monotonic_s())
        if outside_s > watched.limits.membership_s:
            raise FatalError(f"rebalancing, or outside of the group, for {outside_s:.0f} s")
        _forget_lost_partitions(watched, context)
        if watched.oldest_age_s() > watched.limits.unacked_s:
            raise FatalError(f"a record has been in work for {watched.oldest_age_s():.0f} s")


async def watch_fetching(watched: Watched, ask_lag: AskLag, context: ProcessContext) -> None:
    """Returns never; raises `FatalError` when the broker has records for us and none arrives.

    Records in work explain a lag, and so does a rebalance. A broker that does not answer explains everything.
    """
    admitted = watched.admitted()
    while True:
        await context.clock.sleep(LAG_INTERVAL_S)
        lag = await _lag(ask_lag)
        before, admitted = admitted, watched.admitted()
        idle = admitted == before and watched.oldest_age_s() == 0.0 and is_member(watched.app)
        stalled_s = watched.stall.observe(idle and lag > 0, context.clock.monotonic_s())
        if stalled_s > watched.limits.stall_s:
            raise FatalError(f"nothing fetched for {stalled_s:.0f} s with {lag} records waiting")


async def _lag(ask_lag: AskLag) -> int:
    try:
        async with asyncio.timeout(LAG_DEADLINE_S):
            return await ask_lag()
    except Exception as error:  # noqa: BLE001 - the broker's trouble is not this process's fault
        log.debug("lag_unknown", error=type(error).__name__)
        return 0


def _check_evictions(watched: Watched, evictions: Evictions, context: ProcessContext) -> None:
    times = evictions.observe(member_id(watched.app), context.clock.monotonic_s())
    if times >= watched.limits.evictions:
        raise FatalError(f"thrown out of the group {times} times: is another process using this instance id?")


def _forget_lost_partitions(watched: Watched, context: ProcessContext) -> None:
    for subscription in watched.subscriptions:
        # partitions that went to another member would age for ever
        subscription.intake.ledger.drop_older_than(watched.app.consumer_generation_id or 0)
        gauge = context.metrics.stream_unacked_oldest_seconds.labels(subscription.name)
        gauge.set(subscription.intake.oldest_age_s())
