"""Lanes: kept apart from each other, and those beside the main one held back."""

import asyncio
from collections.abc import Sequence

import pytest

from processors.lanes import ROUTES, lane_stage
from runtime.pacer import Pacer
from runtime.streams.record import StreamRecord, TopicPartition
from schemas.records import Lane
from tests.support.clock import EagerClock, FakeClock

RATE_PER_S = 100.0


class Recorder:
    """Work that notes when it was done, and for how many."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self.done: list[tuple[float, int]] = []

    async def work(self, records: Sequence[StreamRecord]) -> None:
        self.done.append((round(self._clock.monotonic_s() - self._began_s, 6), len(records)))


def batch(size: int) -> list[StreamRecord]:
    return [StreamRecord(TopicPartition("webhooks.overflow", 0), at, 1, 0, b"", b"") for at in range(size)]


def test_every_lane_has_a_way_of_its_own() -> None:
    """No two lanes share a consumer group, a topic they read or the name of their process."""
    assert set(ROUTES) == set(Lane)
    for part in ("group", "source", "name"):
        assert len({getattr(route, part) for route in ROUTES.values()}) == len(Lane)


def test_lanes_read_and_write_the_topics_of_the_design() -> None:
    """Overflow ends where the main lane does; a replay never reaches the subscribers."""
    assert {lane: (route.source.name, route.output.name) for lane, route in ROUTES.items()} == {
        Lane.MAIN: ("webhooks.raw", "signals"),
        Lane.OVERFLOW: ("webhooks.overflow", "signals"),
        Lane.REPLAY: ("webhooks.replay", "signals.replay"),
    }


@pytest.mark.parametrize("lane", [Lane.OVERFLOW, Lane.REPLAY])
async def test_a_side_lane_passes_its_rate_and_no_more(lane: Lane) -> None:
    """Small bites, evenly, however fast the records come; the first one does not wait."""
    clock = EagerClock()
    recorder = Recorder(clock)
    stage = lane_stage(ROUTES[lane], recorder.work, RATE_PER_S, clock)
    for _ in range(4):
        await stage.work(batch(stage.batch))
    bite_s = stage.batch / RATE_PER_S
    assert bite_s <= 0.1
    assert recorder.done == [(round(turn * bite_s, 6), stage.batch) for turn in range(4)]


async def test_the_main_lane_is_not_held_back() -> None:
    """Full batches, one after the other."""
    clock = EagerClock()
    recorder = Recorder(clock)
    stage = lane_stage(ROUTES[Lane.MAIN], recorder.work, 1.0, clock)
    for _ in range(3):
        await stage.work(batch(stage.batch))
    assert recorder.done == [(0.0, 500)] * 3
    assert clock.sleeps_s == []


@pytest.mark.parametrize("rate_per_s", [1.0, 7.5, 100.0, 5000.0])
def test_a_bite_is_never_empty_and_short_enough_to_be_waited_for_at_a_stop(rate_per_s: float) -> None:
    """The wait before a batch is over within a second: a stop finishes the batch and acknowledges it."""
    stage = lane_stage(ROUTES[Lane.OVERFLOW], Recorder(FakeClock()).work, rate_per_s, FakeClock())
    assert stage.batch >= 1
    assert stage.batch / rate_per_s <= 1


async def test_time_without_records_is_not_saved_up() -> None:
    """After a quiet hour a flood starts at the same pace."""
    clock = EagerClock()
    pacer = Pacer(RATE_PER_S, clock)
    clock.move(3600)
    await pacer.until_turn(10)
    await pacer.until_turn(10)
    assert clock.sleeps_s == pytest.approx([0.1])


async def test_a_wait_can_be_cancelled_before_anything_is_published() -> None:
    """A stop past its deadline leaves the waiting batch to the next process."""
    clock = FakeClock()
    recorder = Recorder(clock)
    stage = lane_stage(ROUTES[Lane.OVERFLOW], recorder.work, RATE_PER_S, clock)
    await stage.work(batch(stage.batch))
    waiting = asyncio.ensure_future(stage.work(batch(1)))
    await clock.until_sleeping()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(recorder.done) == 1
