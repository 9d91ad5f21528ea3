"""From where to where the topics are read."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from sinks.reconcile_topics import Span, TopicReader, next_span

PLACE = TopicPartition("signals", 0)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (Span(PLACE, 0, 30, 15), Span(PLACE, 20, 30, 15)),
        (Span(PLACE, 0, 20, 10), Span(PLACE, 20, 20, 10)),
        (Span(PLACE, 0, 30, 4), Span(PLACE, 4, 30, 4)),
        (Span(PLACE, 7, 30, 0), Span(PLACE, 7, 30, 0)),
    ],
)
def test_a_second_look_reads_what_came_since(later: Span, expected: Span) -> None:
    """And again what a group that was set back has before it again, as far as the topic holds it."""
    assert next_span(Span(PLACE, 0, 20, 10), later) == expected


def test_what_lies_at_the_committed_offset_waits() -> None:
    """Kafka commits the offset of the next record."""
    span = Span(PLACE, 0, 20, 10)
    assert [span.waits(offset) for offset in (9, 10)] == [False, True]


class Coordinator:
    """Answers in turn, as an admin client does."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def list_consumer_group_offsets(self, group_id: str, partitions: list[Any]) -> Any:
        assert (group_id, partitions) == ("alerts.sink", [PLACE])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_coordinator_that_is_starting_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers nothing, which is not the same as a group that has never committed."""
    monkeypatch.setattr("sinks.reconcile_topics.backoff_s", lambda *_bounds: iter([0.0] * 5))
    known = {PLACE: SimpleNamespace(offset=7)}
    admin = Coordinator(GroupCoordinatorNotAvailableError(), {}, known)
    reader = TopicReader(admin, None)
    assert await reader._committed_by("alerts.sink", [PLACE]) == {PLACE: 7}
    never = TopicReader(Coordinator({PLACE: SimpleNamespace(offset=-1)}), None)
    assert await never._committed_by("alerts.sink", [PLACE]) == {PLACE: 0}


async def test_a_broker_that_refuses_is_not_asked_again() -> None:
    """A missing right does not come by waiting."""
    reader = TopicReader(Coordinator(GroupAuthorizationFailedError()), None)
    with pytest.raises(GroupAuthorizationFailedError):
        await reader._committed_by("alerts.sink", [PLACE])
