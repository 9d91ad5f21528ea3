"""The outcome ledger beside a pipeline that goes on: nothing is called missing that is not."""

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.groups import GROUPS
from sinks.reconcile import Outcome
from sinks.reconcile_run import WEBHOOKS
from tests.support.accounting import FakePipeline, reconcile

TOPICS = sorted(topic.name for topic in GROUPS)
Step = tuple[str, str, int]

steps = st.lists(
    st.tuples(
        st.sampled_from(["accept", "accept", "repeat", "work", "work", "work", "die", "redrive", "commit"]),
        st.sampled_from(TOPICS),
        st.integers(0, 50),
    ),
    max_size=40,
)


def take(pipeline: FakePipeline, ids: list[UUID], step: Step) -> None:
    """One thing that happens; what cannot happen now does not."""
    name, topic, number = step
    if name in {"accept", "repeat"} and topic in WEBHOOKS:
        if name == "accept":
            ids.append(pipeline.accept(topic))
        elif ids:
            pipeline.repeat(topic, ids[number % len(ids)])
    elif name in {"work", "die"}:
        pipeline.work(topic, dies=name == "die")
    elif name == "commit":
        pipeline.commit(topic)
    elif name == "redrive" and pipeline.dead:
        signal_id, origin = sorted(pipeline.dead)[number % len(pipeline.dead)]
        pipeline.redrive(signal_id, origin)


def taking(pipeline: FakePipeline, ids: list[UUID], during: Sequence[Step]) -> None:
    """Two steps happen whenever the ledger waits."""
    left: Iterator[Step] = iter(during)

    def go_on() -> None:
        for step, _ in zip(left, range(2), strict=False):
            take(pipeline, ids, step)

    pipeline.meanwhile = go_on


@given(before=steps, during=steps)
def test_a_pipeline_that_goes_on_has_no_gap(before: list[Step], during: list[Step]) -> None:
    """Whatever is accepted, repeated, stored, buried, put back or acknowledged while the ledger reads."""
    pipeline, ids = FakePipeline(), list[UUID]()
    for step in before:
        take(pipeline, ids, step)
    known = len(ids)
    taking(pipeline, ids, during)
    result = asyncio.run(reconcile(pipeline))
    assert result.missing == []
    assert known <= result.accepted <= len(ids)
    assert sum(result.totals.values()) == result.accepted


@given(before=steps, lost=st.sets(st.integers(0, 40)))
def test_exactly_what_was_lost_is_named(before: list[Step], lost: set[int]) -> None:
    """Rows deleted from a pipeline at rest are missing; what has a dead letter is dead."""
    pipeline, ids = FakePipeline(), list[UUID]()
    for step in before:
        take(pipeline, ids, step)
    pipeline.drain()
    dead = {signal_id for signal_id, _topic in pipeline.dead}
    gone = {
        signal_id for number, signal_id in enumerate(ids) if number in lost and signal_id in pipeline.rows
    }
    for signal_id in gone:
        del pipeline.rows[signal_id]
    result = asyncio.run(reconcile(pipeline))
    assert result.missing_ids == gone - dead
    assert result.totals.get(Outcome.STORED, 0) == len(pipeline.rows)
    assert result.totals.get(Outcome.DEAD, 0) == len(dead - pipeline.rows.keys())
    assert result.totals.get(Outcome.IN_FLIGHT, 0) == 0
