"""Which records of refused calls are fit for a row."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from runtime.clock import utc_from_ms
from runtime.errors import InvalidError
from runtime.ids import uuid7
from runtime.metrics import create_metrics
from runtime.streams.record import StreamRecord
from schemas.records import RefusedCalls
from sinks.refusals import RefusalStage, RefusalStore, read_refused
from tests.support.clock import START_MS
from tests.support.signals import plain_record

CALLS = RefusedCalls(
    id=uuid7(START_MS, 7, 7),
    client_address="203.0.113.7",
    reason="not_found",
    status=404,
    count=3,
    first_at=utc_from_ms(START_MS - 1000),
    last_at=utc_from_ms(START_MS),
)


class MemoryStore(RefusalStore):
    """Keeps what it is given, once."""

    def __init__(self) -> None:
        self.rows: dict[UUID, RefusedCalls] = {}

    async def insert(self, refused: Sequence[RefusedCalls]) -> int:
        before = len(self.rows)
        self.rows |= {calls.id: calls for calls in refused}
        return len(self.rows) - before


def record_of(value: bytes) -> StreamRecord:
    good = plain_record(CALLS)
    return StreamRecord(good.source, 0, 1, START_MS, good.key, value)


async def test_new_and_repeated_rows_are_counted_apart() -> None:
    """The metrics show how much was delivered twice."""
    stage = RefusalStage(MemoryStore(), create_metrics())
    other = msgspec.structs.replace(CALLS, id=uuid7(START_MS, 8, 8))
    await stage.work([plain_record(CALLS)])
    await stage.work([plain_record(CALLS), plain_record(other)])
    counts = [
        stage.metrics.registry.get_sample_value("alerts_refused_stored_total", {"outcome": outcome})
        for outcome in ("inserted", "repeated")
    ]
    assert counts == [2, 1]


@pytest.mark.parametrize("value", [b"", b"{}", b"not json", b"\xff", b'{"id": "x"}'])
async def test_an_unreadable_record_is_invalid_and_has_no_effect(value: bytes) -> None:
    """The harness finds the culprit; nothing of its batch is half done."""
    store = MemoryStore()
    with pytest.raises(InvalidError) as caught:
        await RefusalStage(store, create_metrics()).work([plain_record(CALLS), record_of(value)])
    assert caught.value.reason == "bad_record"
    assert store.rows == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": uuid7(START_MS + 1, 7, 7)},
        {"id": UUID("ffffffff-ffff-4fff-bfff-ffffffffffff")},
        {"last_at": utc_from_ms(START_MS) + timedelta(days=40)},
        {"last_at": utc_from_ms(START_MS).replace(tzinfo=None)},
    ],
)
def test_an_id_of_another_moment_is_invalid(changes: dict[str, UUID | datetime]) -> None:
    """It would choose a partition that is not there, or make one far from here."""
    with pytest.raises(InvalidError) as caught:
        read_refused(plain_record(msgspec.structs.replace(CALLS, **changes)))
    assert caught.value.reason == "bad_id"


def test_what_the_ingress_writes_is_read() -> None:
    """Field by field."""
    assert read_refused(plain_record(CALLS)) == CALLS
