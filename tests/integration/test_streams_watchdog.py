"""The watchdog on a real broker: a member that was fenced, a fetch that has stopped."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

import pytest

from runtime.errors import FatalError
from runtime.process import ProcessContext
from runtime.publisher import open_publisher
from runtime.settings import KafkaSettings
from runtime.streams.lag import group_lag
from runtime.streams.record import StreamRecord
from runtime.streams.service import Stage, StreamSettings, run_stages
from runtime.streams.transport import SafeApp, SafeConsumer, SafeTransport
from runtime.streams.watchdog import WatchLimits
from tests.support.broker import make_topics, produce

SHORT = WatchLimits(membership_s=20.0, stall_s=1.0)


async def settings_for(bootstrap: str, instance_id: str | None = None) -> tuple[StreamSettings, str]:
    topic = f"watched-{secrets.token_hex(4)}"
    await make_topics(bootstrap, **{topic: 1})
    values = {"bootstrap": bootstrap, "group_instance_id": instance_id}
    return StreamSettings(f"group-{topic}", KafkaSettings.model_validate(values), SHORT), topic


@asynccontextmanager
async def consuming(settings: StreamSettings, topic: str) -> AsyncIterator[ProcessContext]:
    async def work(_records: Sequence[StreamRecord]) -> None:
        """Nothing to do."""

    context = ProcessContext()
    async with (
        open_publisher(settings.kafka, "test") as publisher,
        run_stages(settings, [Stage("test", (topic,), work)], publisher, context),
    ):
        yield context


async def failure(context: ProcessContext) -> BaseException:
    async with asyncio.timeout(60):
        return await context.failed


async def test_two_members_with_one_id_do_not_go_on(kafka_bootstrap: str) -> None:
    """They throw each other out in turn, and each believes to own the partitions; one must give up."""
    settings, topic = await settings_for(kafka_bootstrap, instance_id="the-one")
    async with consuming(settings, topic) as first, consuming(settings, topic) as second:
        async with asyncio.timeout(60):
            await asyncio.wait({first.failed, second.failed}, return_when=asyncio.FIRST_COMPLETED)
        errors = [context.failed.result() for context in (first, second) if context.failed.done()]
    # the other may reach its own third time in the same moment
    for error in errors:
        assert isinstance(error, FatalError)
        assert "using this instance id" in str(error)


async def test_a_consumer_that_fetches_no_more_ends(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the broker knows that there is something to fetch."""
    monkeypatch.setattr("runtime.streams.watchdog.LAG_INTERVAL_S", 0.5)
    settings, topic = await settings_for(kafka_bootstrap)

    async def nothing(_self: SafeConsumer, active_partitions: Any, timeout: float) -> dict[Any, Any]:  # noqa: ASYNC109
        await asyncio.sleep(timeout if active_partitions else 1.0)
        return {}

    async with consuming(settings, topic) as context:
        monkeypatch.setattr(SafeConsumer, "_getmany", nothing)
        # what was asked before may still bring this one
        await produce(kafka_bootstrap, topic, [b"1"])
        await asyncio.sleep(1.5)
        await produce(kafka_bootstrap, topic, [b"2", b"3"])
        error = await failure(context)
    assert isinstance(error, FatalError)
    assert "nothing fetched" in str(error)


@pytest.mark.parametrize("of_it", ["_client._sync_task", "_coordinator._coordination_task"])
async def test_a_consumer_without_one_of_its_tasks_ends(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, of_it: str
) -> None:
    """Heartbeats and commits would wait for it without end, while records are fetched and done."""
    apps: list[SafeApp] = []
    original = SafeApp._new_transport

    def noted(self: SafeApp) -> SafeTransport:
        apps.append(self)
        return original(self)

    monkeypatch.setattr(SafeApp, "_new_transport", noted)
    settings, topic = await settings_for(kafka_bootstrap)
    async with consuming(settings, topic) as context:
        thread = apps[0]._consumer._thread
        thread.thread_loop.call_soon_threadsafe(attrgetter(of_it)(thread._consumer).cancel)
        error = await failure(context)
    assert isinstance(error, FatalError)
    assert "task" in str(error)


async def test_the_lag_is_what_the_group_has_not_committed(kafka_bootstrap: str) -> None:
    """Also of a group that never committed; nothing is asked for no partitions."""
    settings, topic = await settings_for(kafka_bootstrap)
    assert await group_lag(settings.kafka, settings.group, set()) == 0
    await produce(kafka_bootstrap, topic, [b"1", b"2", b"3"])
    assert await group_lag(settings.kafka, settings.group, {(topic, 0)}) == 3
