"""The Faust harness on a real broker."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest

from runtime.errors import InvalidError, TransientError
from runtime.process import ProcessContext
from runtime.publisher import open_publisher
from runtime.settings import KafkaSettings
from runtime.streams.fetching import BUSY_WAIT_MS
from runtime.streams.record import StreamRecord
from runtime.streams.service import Stage, StreamSettings, run_stages
from schemas.topics import DEADLETTERS
from tests.support.broker import committed, make_topics, produce, read_all, topic_names
from tests.support.waiting import eventually


@dataclass
class Effects:
    """A store of effects whose work can be made to fail."""

    fail: Callable[[bytes], None] = lambda _value: None
    values: list[bytes] = field(default_factory=list)
    failures: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, records: Sequence[StreamRecord]) -> None:
        try:
            for record in records:
                self.fail(record.value)
        except Exception:
            self.failures += 1
            self.changed.set()
            raise
        self.values += [record.value for record in records]
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@dataclass(frozen=True)
class Place:
    bootstrap: str
    topic: str
    group: str

    def run(self, effects: Effects) -> AbstractAsyncContextManager[ProcessContext]:
        return consuming(self, effects)

    async def committed(self) -> int:
        return await committed(self.bootstrap, self.group, self.topic)


@asynccontextmanager
async def consuming(place: Place, effects: Effects, parallel: int = 1) -> AsyncIterator[ProcessContext]:
    context = ProcessContext()
    kafka = KafkaSettings.model_validate({"bootstrap": place.bootstrap})
    stage = Stage("test", (place.topic,), effects.work, batch=4, parallel=parallel)
    settings = StreamSettings(place.group, kafka)
    async with (
        open_publisher(kafka, "test") as publisher,
        run_stages(settings, [stage], publisher, context),
    ):
        yield context


@pytest.fixture
async def place(kafka_bootstrap: str) -> Place:
    name = f"harness-{secrets.token_hex(4)}"
    await make_topics(kafka_bootstrap, **{name: 1})
    if DEADLETTERS.name not in await topic_names(kafka_bootstrap):
        await make_topics(kafka_bootstrap, **{DEADLETTERS.name: 1})
    return Place(kafka_bootstrap, name, f"group-{name}")


async def test_what_is_done_is_committed_on_stop(place: Place) -> None:
    """After a graceful stop the committed offset is the end offset."""
    await produce(place.bootstrap, place.topic, [b"%d" % number for number in range(30)])
    effects = Effects()
    async with place.run(effects):
        await effects.until(lambda: len(effects.values) == 30)
    assert effects.values == [b"%d" % number for number in range(30)]
    assert await place.committed() == 30


async def test_a_poison_record_becomes_a_dead_letter_and_its_neighbours_are_done(place: Place) -> None:
    """The culprit is found in its batch, kept with its origin, and nothing waits for it."""

    def fail(value: bytes) -> None:
        if value == b"2":
            raise InvalidError("unfit", "secret detail")

    await produce(place.bootstrap, place.topic, [b"%d" % number for number in range(8)])
    effects = Effects(fail)
    async with place.run(effects):
        await effects.until(lambda: len(effects.values) == 7)
        await effects.until(lambda: b"7" in effects.values)
    assert sorted(effects.values) == [b"0", b"1", b"3", b"4", b"5", b"6", b"7"]
    assert await place.committed() == 8
    letters = [r for r in await read_all(place.bootstrap, DEADLETTERS.name) if origin(r) == place.topic]
    assert [letter.value for letter in letters] == [b"2"]
    headers = dict(letters[0].headers)
    assert (headers["dl_reason"], headers["dl_offset"], headers["dl_stage"]) == (b"unfit", b"2", b"test")
    assert b"secret detail" not in b"".join(headers.values())


async def test_a_bug_is_tried_again_and_then_a_dead_letter(place: Place) -> None:
    """An exception nobody expected is retried a few times and never ends the loop."""

    def fail(value: bytes) -> None:
        if value == b"1":
            raise ZeroDivisionError

    await produce(place.bootstrap, place.topic, [b"0", b"1", b"2"])
    effects = Effects(fail)
    async with place.run(effects):
        await effects.until(lambda: sorted(effects.values) == [b"0", b"2"])
    assert await place.committed() == 3
    letters = [r for r in await read_all(place.bootstrap, DEADLETTERS.name) if origin(r) == place.topic]
    assert dict(letters[0].headers)["dl_attempts"] == b"3"


async def test_a_stop_during_an_outage_acknowledges_nothing(place: Place) -> None:
    """Records that wait for a dependency are left for the next process, which finds them all."""

    def away(_value: bytes) -> None:
        raise TransientError("away")

    await produce(place.bootstrap, place.topic, [b"%d" % number for number in range(5)])
    effects = Effects(away)
    async with place.run(effects):
        await effects.until(lambda: effects.failures >= 2)
    assert await place.committed() == 0
    effects = Effects()
    async with place.run(effects):
        await effects.until(lambda: len(effects.values) == 5)
    assert await place.committed() == 5


def origin(record: object) -> str:
    headers: dict[str, bytes] = dict(record.headers)  # type: ignore[attr-defined]  # aiokafka is untyped
    return headers.get("dl_topic", b"").decode()


async def test_a_fetch_beside_unread_records_is_not_held_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for idle partitions alone, and when the others are read up, nothing else would end it."""
    idle = f"{place.topic}-idle"
    await make_topics(place.bootstrap, **{idle: 1})
    asked: list[tuple[set[str], int]] = []

    def noted(wait_ms: int, *rest: Any, **options: Any) -> FetchRequest:
        asked.append(({topic for topic, _partitions in rest[3]}, wait_ms))
        return FetchRequest(wait_ms, *rest, **options)

    monkeypatch.setattr("aiokafka.consumer.fetcher.FetchRequest", noted)
    # more than the intake, Faust's queue and one poll hold
    await produce(place.bootstrap, place.topic, [b"%d" % number for number in range(6_000)])
    go_on = asyncio.Event()

    async def work(_records: Sequence[StreamRecord]) -> None:
        await go_on.wait()

    def waits_ms(*topics: str) -> set[int]:
        return {wait_ms for asked_for, wait_ms in asked if asked_for == set(topics)}

    stage = Stage("test", (place.topic, idle), work, batch=4)
    kafka = KafkaSettings.model_validate({"bootstrap": place.bootstrap})
    settings = StreamSettings(place.group, kafka)
    async with (
        open_publisher(kafka, "test") as publisher,
        run_stages(settings, [stage], publisher, ProcessContext()),
    ):

        async def idle_alone() -> set[int]:
            return waits_ms(idle)

        assert await eventually(idle_alone) == {BUSY_WAIT_MS}
        asked.clear()
        go_on.set()

        async def both() -> set[int]:
            return waits_ms(place.topic, idle)

        [wait_ms] = await eventually(both)
        assert wait_ms > BUSY_WAIT_MS


@dataclass
class SlowEffects(Effects):
    """The work of one value's kind waits until it may go on."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, records: Sequence[StreamRecord]) -> None:
        if any(record.value.startswith(b"slow") for record in records):
            await self.go_on.wait()
        await super().work(records)


async def test_a_key_whose_work_waits_holds_up_nobody_else(place: Place) -> None:
    """Its own records wait behind it, in order; all others pass through the other call."""
    slow = [b"slow%d" % number for number in range(10)]
    quick = [b"quick%d" % number for number in range(20)]
    await produce(place.bootstrap, place.topic, slow, key=b"slow")
    effects = SlowEffects()
    async with consuming(place, effects, parallel=2):
        await produce(place.bootstrap, place.topic, quick, key=b"quick")
        await effects.until(lambda: len(effects.values) == len(quick))
        assert effects.values == quick
        assert await place.committed() == 0
        effects.go_on.set()
        await effects.until(lambda: len(effects.values) == len(quick) + len(slow))
    assert effects.values == [*quick, *slow]
    assert await place.committed() == len(quick) + len(slow)
