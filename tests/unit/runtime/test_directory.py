import asyncio
import gc
from collections.abc import Coroutine
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from runtime.directory import DirectoryReader, TenantDirectory
from runtime.errors import TransientError
from runtime.follower import PARTITION
from runtime.metrics import create_metrics
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.plans import Plan
from schemas.records import Tenant

USERS = [UUID(int=number) for number in range(1, 4)]


def tenant(user: UUID = USERS[0], revision: int = 1, *hashes: str, **changes: Any) -> Tenant:
    values = {"plan": Plan.PRO, "webhook_enabled": True, "captures_enabled": False, **changes}
    return Tenant(user_id=user, revision=revision, token_hashes=list(hashes), **values)


def record(offset: int, item: Tenant) -> Any:
    key = str(item.user_id).encode()
    return SimpleNamespace(offset=offset, timestamp=1000 + offset, key=key, value=encode(item))


class Broker:
    """Stands in for the consumer: answers one question at a time, when the test says so."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[asyncio.Future[int]] = asyncio.Queue()
        self.asked = 0

    async def end_offsets(self, _partitions: object) -> dict[object, int]:
        self.asked += 1
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.questions.put_nowait(answer)
        return {PARTITION: await answer}

    async def answer(self, result: int | Exception) -> None:
        question = await self.questions.get()
        if isinstance(result, Exception):
            question.set_exception(result)
        else:
            question.set_result(result)
        await turns()


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def reader_of(broker: Broker | None) -> DirectoryReader:
    reader = DirectoryReader(TenantDirectory(), create_metrics())
    reader._consumer = broker
    return reader


def asking(reader: DirectoryReader) -> "asyncio.Task[None]":
    return asyncio.create_task(reader.confirm_current(10))


async def test_without_a_broker_it_is_not_current() -> None:
    """An empty directory must not turn every token into an unknown one."""
    with pytest.raises(TransientError):
        await reader_of(None).confirm_current(10)


async def test_it_is_current_when_it_has_applied_what_the_broker_holds() -> None:
    """Not before the last record that was there at the time of the question."""
    broker = Broker()
    reader = reader_of(broker)
    check = asking(reader)
    await broker.answer(2)
    assert not check.done()
    await reader._apply([], 1)
    await turns()
    assert not check.done()
    await reader._apply([], 2)
    await check


async def test_callers_share_a_question_but_never_an_older_one() -> None:
    """What was asked before a call may miss a tenant created just before the call."""
    broker = Broker()
    reader = reader_of(broker)
    first = asking(reader)
    await turns()
    later = [asking(reader) for _ in range(20)]
    await turns()
    assert broker.asked == 1
    await broker.answer(0)
    await first
    assert broker.asked == 2
    assert not any(check.done() for check in later)
    await broker.answer(0)
    await asyncio.gather(*later)
    assert broker.asked == 2


async def test_one_callers_end_is_not_the_others() -> None:
    """A cancelled request does not take away the answer others wait for."""
    broker = Broker()
    reader = reader_of(broker)
    first, second = asking(reader), asking(reader)
    await turns()
    third = asking(reader)
    await turns()
    first.cancel()
    await broker.answer(0)
    await broker.answer(0)
    await asyncio.gather(second, third)
    assert first.cancelled()


async def test_a_failed_question_fails_only_those_who_asked_it() -> None:
    """The next caller asks anew."""
    broker = Broker()
    reader = reader_of(broker)
    first = asking(reader)
    await turns()
    second = asking(reader)
    await broker.answer(KafkaConnectionError())
    with pytest.raises(TransientError, match="may not be current"):
        await first
    await broker.answer(0)
    await second


async def test_silence_is_transient() -> None:
    """After the deadline the caller answers 503 instead of 404."""
    with pytest.raises(TransientError):
        await reader_of(Broker()).confirm_current(0.01)


async def test_a_refusal_is_not_hidden_as_an_outage() -> None:
    """A missing right is no matter of waiting."""
    broker = Broker()
    check = asking(reader_of(broker))
    await broker.answer(TopicAuthorizationFailedError())
    with pytest.raises(TopicAuthorizationFailedError):
        await check


async def test_an_unreadable_record_does_not_hide_the_next_one() -> None:
    """Whatever somebody wrote to the topic, every other tenant is known."""
    reader = reader_of(None)
    values = [b"nonsense", None, b"\xff", b'{"new":' + b"[" * 100_000, encode(tenant(USERS[0], 1, "hash"))]
    records = [SimpleNamespace(offset=number, key=b"", value=value) for number, value in enumerate(values)]
    await reader._apply(records, len(records))
    assert reader.directory.by_token_hash("hash") is not None
    assert reader._metrics.registry.get_sample_value("alerts_directory_tenants") == 1


async def test_a_log_that_became_shorter_is_not_current() -> None:
    """It was made anew: what has been applied is of the old one, and the new one has not been read."""
    broker = Broker()
    reader = reader_of(broker)
    await reader._apply([], 5)
    check = asking(reader)
    await broker.answer(3)
    with pytest.raises(TransientError):
        await check


async def test_a_question_nobody_waits_for_fails_silently() -> None:
    """All callers had a shorter deadline than the broker."""
    broker = Broker()
    reader = reader_of(broker)
    with pytest.raises(TransientError):
        await reader.confirm_current(0.01)
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, problem: problems.append(problem))
    await broker.answer(KafkaConnectionError())
    reader._check = None
    gc.collect()
    assert problems == []


async def test_an_open_question_ends_with_the_reader() -> None:
    """No task stays behind."""
    reader = reader_of(Broker())
    with pytest.raises(TransientError):
        await reader.confirm_current(0.01)
    check = reader._check
    await reader.close()
    assert check is not None
    assert check.cancelled()


@pytest.mark.parametrize("value", [None, b"nonsense"])
async def test_a_tenants_last_record_that_is_none_is_noticed(value: bytes | None) -> None:
    """The tenant is kept; whoever reads the compacted topic later would not have it."""
    reader = reader_of(None)
    await reader._apply([record(0, tenant(USERS[0], 3, "hash"))], 1)
    overwriting = SimpleNamespace(offset=1, timestamp=1, key=str(USERS[0]).encode(), value=value)
    await reader._apply([overwriting], 2)
    assert reader.directory.by_token_hash("hash") is not None
    assert reader.directory.overwritten() == {USERS[0]: 3}


async def test_a_part_of_the_topic_is_no_place() -> None:
    """A snapshot of it would replace a better one."""
    reader = reader_of(None)
    reader._whole_at = 2
    assert reader.place() is None
    await reader._apply([record(0, tenant())], 1)
    assert reader.place() is None
    await reader._apply([record(1, tenant(USERS[1]))], 2)
    place = reader.place()
    assert place is not None
    assert (place.offset, place.last_offset, place.last_timestamp_ms) == (2, 1, 1001)


async def test_what_is_read_anew_replaces_the_snapshot_as_a_whole() -> None:
    """Until then the snapshot counts, and nothing is current."""
    broker = Broker()
    reader = reader_of(broker)
    reader.directory.apply(tenant(USERS[0], 1, "old"))
    reader._rebuilt, reader._whole_at = TenantDirectory(), 2
    check = asking(reader)
    await broker.answer(2)
    await reader._apply([record(0, tenant(USERS[1], 1, "first"))], 1)
    await turns()
    assert not check.done()
    assert reader.directory.by_token_hash("old") is not None
    assert reader.directory.by_token_hash("first") is None
    await reader._apply([record(1, tenant(USERS[2], 1, "second"))], 2)
    await check
    known = [reader.directory.by_token_hash(name) is not None for name in ("old", "first", "second")]
    assert known == [False, True, True]


async def test_after_an_outage_nobody_is_unknown_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant made meanwhile is on its way: the relay too could only go on when the broker was back."""
    broker = Broker()
    reader = reader_of(broker)
    now_s = stopped_time(monkeypatch)
    for seconds, current in ((0, True), (2, True), (60, False), (2, False), (2, False), (1, True)):
        now_s[0] += seconds
        await answered(broker, reader.confirm_applied(30))
        with nullcontext() if current else pytest.raises(TransientError, match="relay"):
            await answered(broker, reader.confirm_current(30))


async def test_it_asks_when_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour without calls is no outage, and an outage in it is one."""
    monkeypatch.setattr("runtime.directory_reader._PING_INTERVAL_S", 0)
    broker = Broker()
    reader = reader_of(broker)
    watching = asyncio.create_task(reader.watch())
    try:
        for number in range(3):
            await broker.answer(number if number == 0 else KafkaConnectionError())
        assert not (await broker.questions.get()).done()
        assert not watching.done()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await reader.close()


async def test_a_start_is_no_outage_but_a_second_try_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that was away when the process began was away for the relay too."""
    monkeypatch.setattr("runtime.directory_reader.create_consumer", lambda *_: None)
    broker = Broker()
    reader = reader_of(broker)
    settings = KafkaSettings.model_validate({"bootstrap": "127.0.0.1:1"})
    reader._create_consumer(settings, "test")
    await answered(broker, reader.confirm_current(30))
    reader._create_consumer(settings, "test")
    with pytest.raises(TransientError, match="relay"):
        await answered(broker, reader.confirm_current(30))


def stopped_time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loop's time as the test sets it."""
    loop = asyncio.get_running_loop()
    now_s = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: now_s[0])
    return now_s


async def answered(broker: Broker, question: Coroutine[Any, Any, None]) -> None:
    asking = asyncio.create_task(question)
    await broker.answer(0)
    await asking
