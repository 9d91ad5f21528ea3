import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from hypothesis import given
from hypothesis import strategies as st

from runtime.directory import _PARTITION, DirectoryReader, TenantDirectory
from runtime.errors import TransientError
from runtime.metrics import create_metrics
from schemas.codec import encode
from schemas.plans import Plan
from schemas.records import Tenant

USERS = [UUID(int=number) for number in range(1, 4)]


def tenant(user: UUID = USERS[0], revision: int = 1, *hashes: str, **changes: Any) -> Tenant:
    values = {"plan": Plan.PRO, "webhook_enabled": True, "captures_enabled": False, **changes}
    return Tenant(user_id=user, revision=revision, token_hashes=list(hashes), **values)


def directory(*tenants: Tenant) -> TenantDirectory:
    made = TenantDirectory()
    for item in tenants:
        made.apply(item)
    return made


@st.composite
def histories(draw: st.DrawFn) -> list[Tenant]:
    """For each user some revisions, each with tokens old and new, and maybe a deletion."""
    history = []
    for user in USERS:
        for revision in range(1, draw(st.integers(0, 5)) + 1):
            numbers = draw(st.sets(st.integers(0, 4), max_size=3))
            hashes = [f"{user.int}-{number}" for number in sorted(numbers)]
            history.append(tenant(user, revision, *hashes, deleted=draw(st.booleans())))
    return history


@given(history=histories(), data=st.data())
def test_the_highest_revision_wins_in_whatever_order(history: list[Tenant], data: st.DataObject) -> None:
    """Records come twice, late and out of order; what is known in the end is the same."""
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=4) if history else st.just([]))
    known = directory(*data.draw(st.permutations(repeated)))
    newest = {item.user_id: item for item in sorted(history, key=lambda item: item.revision)}
    assert len(known) == len(newest)
    assert known.revisions() == {user: item.revision for user, item in newest.items()}
    for user in USERS:
        assert known.by_id(user) == newest.get(user)
        for number in range(5):
            token_hash = f"{user.int}-{number}"
            item = newest.get(user)
            valid = item is not None and not item.deleted and token_hash in item.token_hashes
            assert known.by_token_hash(token_hash) == (item if valid else None)


def test_rotation_keeps_the_old_token_while_it_is_listed() -> None:
    """The grace time is over when a revision comes without it."""
    known = directory(tenant(USERS[0], 1, "old"), tenant(USERS[0], 2, "new", "old"))
    assert known.by_token_hash("old") is known.by_token_hash("new") is known.by_id(USERS[0])
    known.apply(tenant(USERS[0], 3, "new"))
    assert known.by_token_hash("old") is None
    assert known.by_token_hash("new") is not None


def test_a_deleted_tenant_is_known_but_has_no_token() -> None:
    """Its late records are told from those of a tenant not yet heard of."""
    known = directory(tenant(USERS[0], 1, "hash"), tenant(USERS[0], 2, "hash", deleted=True))
    assert known.by_token_hash("hash") is None
    gone = known.by_id(USERS[0])
    assert gone is not None
    assert gone.deleted


class Broker:
    """Stands in for the consumer: answers one question at a time, when the test says so."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[asyncio.Future[int]] = asyncio.Queue()
        self.asked = 0

    async def end_offsets(self, _partitions: object) -> dict[object, int]:
        self.asked += 1
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.questions.put_nowait(answer)
        return {_PARTITION: await answer}

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
    records = [SimpleNamespace(offset=number, value=value) for number, value in enumerate(values)]
    await reader._apply(records, len(records))
    assert reader.directory.by_token_hash("hash") is not None
    assert reader._metrics.registry.get_sample_value("alerts_directory_tenants") == 1
