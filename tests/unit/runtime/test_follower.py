import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError
from msgspec.structs import replace

from runtime.follower import PARTITION, Origin, end_offset_of, origin_of
from runtime.snapshot import Place

PLACE = Place(
    cluster_id="cluster", topic="tenants", partition=0, offset=6, last_offset=5, last_timestamp_ms=1005
)


class Log:
    """Stands in for a consumer of a log with some offsets; a record's timestamp is 1000 + offset."""

    def __init__(self, *offsets: int, end_offset: int, failures: list[Exception] | None = None) -> None:
        self.offsets = offsets
        self.end_offset = end_offset
        self.failures = failures or []
        self.at = 0

    async def end_offsets(self, _partitions: object) -> dict[object, int]:
        if self.failures:
            raise self.failures.pop(0)
        return {PARTITION: self.end_offset}

    def seek(self, _partition: object, offset: int) -> None:
        self.at = offset

    async def position(self, _partition: object) -> int:
        return self.at

    async def getmany(self, *_partitions: object, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        assert timeout_ms > 0
        await asyncio.sleep(0)
        later = [offset for offset in self.offsets if offset >= self.at][:max_records]
        self.at = later[-1] + 1 if later else self.end_offset
        return {PARTITION: [SimpleNamespace(offset=offset, timestamp=1000 + offset) for offset in later]}


async def test_the_same_last_record_is_the_same_log() -> None:
    """Whatever came behind it since."""
    for log in (Log(5, end_offset=6), Log(0, 5, 8, end_offset=9)):
        assert await origin_of(log, "cluster", PLACE) is Origin.SAME


async def test_a_log_that_ends_before_the_snapshot_is_another() -> None:
    """Nothing is ever taken off the end of a log."""
    assert await origin_of(Log(0, 1, 5, end_offset=5), "cluster", PLACE) is Origin.OTHER


async def test_another_record_in_its_place_is_another_log() -> None:
    """A topic made anew that is as long again."""
    place = replace(PLACE, last_timestamp_ms=1004)
    assert await origin_of(Log(5, end_offset=6), "cluster", place) is Origin.OTHER


async def test_a_last_record_that_is_gone_tells_nothing() -> None:
    """Compaction took it; or nothing but marks of transactions is left."""
    for log in (Log(7, end_offset=8), Log(end_offset=8)):
        assert await origin_of(log, "cluster", PLACE) is Origin.UNKNOWN


@pytest.mark.parametrize("changes", [{"cluster_id": "other"}, {"topic": "other"}, {"partition": 1}])
async def test_another_name_is_another_log(changes: dict[str, Any]) -> None:
    """Before any record is asked for."""
    assert await origin_of(Log(5, end_offset=6), "cluster", replace(PLACE, **changes)) is Origin.OTHER


async def test_a_broker_that_does_not_answer_is_waited_for() -> None:
    """So is a topic that is yet to be made."""
    assert await end_offset_of(Log(end_offset=7, failures=[KafkaTimeoutError(), TimeoutError()])) == 7


async def test_a_refusal_is_not_waited_for() -> None:
    """A missing right is no matter of waiting."""
    with pytest.raises(TopicAuthorizationFailedError):
        await end_offset_of(Log(end_offset=7, failures=[TopicAuthorizationFailedError()]))
