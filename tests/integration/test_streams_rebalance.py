"""What was on its way when a rebalance came, on a real broker."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from faust.transport.drivers import aiokafka as driver

from runtime.clock import Clock
from runtime.process import ProcessContext
from runtime.publisher import open_publisher
from runtime.settings import KafkaSettings
from runtime.streams import service
from runtime.streams.intake import Intake
from runtime.streams.record import StreamRecord
from runtime.streams.service import Stage, StreamSettings, run_stages
from runtime.streams.transport import SafeConsumer, SafeTransport
from tests.support.broker import committed, group_state, make_topics, produce
from tests.support.waiting import eventually

BATCH: Final = 4
CAPACITY: Final = 2 * BATCH


class Gate:
    """Work that waits until it is let through, and tells what it has seen in which order."""

    def __init__(self, *, is_open: bool) -> None:
        self.values: list[bytes] = []
        self._open = asyncio.Event()
        if is_open:
            self._open.set()

    def open(self) -> None:
        self._open.set()

    async def work(self, records: Sequence[StreamRecord]) -> None:
        await self._open.wait()
        self.values += [record.value for record in records]

    async def has_seen(self, *values: bytes) -> None:
        await becomes_true(lambda: set(values) <= set(self.values))


async def becomes_true(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds)


@asynccontextmanager
async def member(bootstrap: str, topic: str, gate: Gate) -> AsyncIterator[None]:
    """A consumer of the topic's group in this process."""
    kafka = KafkaSettings.model_validate({"bootstrap": bootstrap})
    stage = Stage("test", (topic,), gate.work, batch=BATCH)
    async with (
        open_publisher(kafka, "test") as publisher,
        run_stages(StreamSettings(f"group-{topic}", kafka), [stage], publisher, ProcessContext()),
    ):
        yield


def interrupted_once(kind: Any) -> tuple[Any, list[Any]]:
    """A consumer whose flow is stopped while its first fetch is under way, as a revocation does."""
    stopped: list[Any] = []

    class Interrupted(kind):  # type: ignore[misc]  # the kind is chosen by the test
        async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - as the original
            records = await super()._getmany(active_partitions, timeout)
            if records and not stopped:
                self.stop_flow()
                stopped.append(self)
            return records

    return Interrupted, stopped


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(driver.Consumer, [b"after"]), (SafeConsumer, [b"0", b"1", b"2", b"after"])],
    ids=["plain", "ours"],
)
async def test_a_fetch_cut_off_before_the_first_commit(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, kind: Any, expected: list[bytes]
) -> None:
    """Plain Faust goes on behind what it had fetched and commits that; ours reads it again."""
    topic = f"cut-{secrets.token_hex(4)}"
    await make_topics(kafka_bootstrap, **{topic: 1})
    await produce(kafka_bootstrap, topic, [b"0", b"1", b"2"])
    consumer, stopped = interrupted_once(kind)
    monkeypatch.setattr(SafeTransport, "Consumer", consumer)
    gate = Gate(is_open=True)
    async with member(kafka_bootstrap, topic, gate):
        await becomes_true(lambda: bool(stopped))
        stopped[0].resume_flow()
        await produce(kafka_bootstrap, topic, [b"after"])
        await gate.has_seen(b"after")
    assert gate.values == expected
    assert await committed(kafka_bootstrap, f"group-{topic}", topic) == 4


async def test_a_record_that_waited_for_room_through_a_rebalance(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not overtake what waited before it and is delivered anew."""
    topic = f"room-{secrets.token_hex(4)}"
    await make_topics(kafka_bootstrap, **{topic: 1})
    values = [b"%02d" % number for number in range(5 * CAPACITY)]
    await produce(kafka_bootstrap, topic, values)
    intakes: list[Intake] = []

    def recorded(capacity: int, clock: Clock) -> Intake:
        intakes.append(Intake(capacity, clock))
        return intakes[-1]

    monkeypatch.setattr(service, "Intake", recorded)
    gate = Gate(is_open=False)
    async with member(kafka_bootstrap, topic, gate):
        await becomes_true(lambda: intakes[0].admitted == BATCH + CAPACITY)
        async with member(kafka_bootstrap, topic, Gate(is_open=False)):
            await eventually(lambda: is_stable(kafka_bootstrap, topic, 2))
        await eventually(lambda: is_stable(kafka_bootstrap, topic, 1))
        gate.open()
        await gate.has_seen(*values)
    # repeats are normal
    assert list(dict.fromkeys(gate.values)) == values


async def is_stable(bootstrap: str, topic: str, members: int) -> bool:
    return await group_state(bootstrap, f"group-{topic}") == ("Stable", members)
