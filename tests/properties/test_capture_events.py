"""Capture events in any order, repeated and split into batches, against a model of what must stand."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runtime.postgres import Pool
from schemas.records import CaptureEvent, CaptureEventKind, Picture, Signal
from sinks.capture_store import STATUS_OF, CaptureStore
from tests.support.api import pool_of
from tests.support.quota import insert
from tests.support.signals import new_event, new_signal
from tests.support.tenants import Customer, insert_tenant, new_customer

OURS, OTHERS = 0, 1


@dataclass(frozen=True)
class Report:
    """An event, told without ids: which of two rows it serves (2 is a row that is not there), whose it is."""

    kind: CaptureEventKind
    request_no: int
    rows: frozenset[int]
    owner: int


@dataclass(frozen=True)
class Store:
    """A database with two tenants."""

    runner: asyncio.Runner
    pool: Pool
    owners: Sequence[Customer]


reports = st.builds(
    Report,
    kind=st.sampled_from(list(CaptureEventKind)),
    request_no=st.integers(1, 3),
    rows=st.frozensets(st.integers(0, 2), min_size=1),
    owner=st.sampled_from([OURS, OURS, OURS, OTHERS]),
)


@pytest.fixture(scope="module")
def store(postgres_url: str) -> Iterator[Store]:
    with asyncio.Runner() as runner:
        opened = pool_of(postgres_url)
        pool = runner.run(opened.__aenter__())
        owners = [new_customer(), new_customer()]
        for owner in owners:
            runner.run(insert_tenant(pool, owner))
        yield Store(runner, pool, owners)
        runner.run(opened.__aexit__(None, None, None))


@dataclass
class Row:
    """What the model says of one row."""

    standing: CaptureEvent | None = None
    picture: str | None = field(default=None)

    def take(self, event: CaptureEvent) -> None:
        if self.standing is None or order(self.standing) < order(event):
            self.standing = event
            self.picture = event.picture.key if event.picture else self.picture

    def outcome(self) -> tuple[Any, ...]:
        if self.standing is None:
            return "pending", None, 1, 0
        event = self.standing
        return STATUS_OF[event.kind], event.reason, event.request_no, event.kind.rank


def order(event: CaptureEvent) -> tuple[int, int]:
    return event.request_no, event.kind.rank


def event_of(
    report: Report, number: int, signals: Sequence[Signal], owners: Sequence[Customer]
) -> CaptureEvent:
    """With a reason or a picture of its own, so that it can be told from its equals."""
    completed = report.kind is CaptureEventKind.COMPLETED
    key = f"{signals[0].signal_id}/{number}.png"
    picture = Picture(key=key, size_bytes=1, width_px=1, height_px=1, captured_at=signals[0].received_at)
    return new_event(
        signals[0],
        report.kind,
        signal_ids=[signals[row].signal_id for row in sorted(report.rows)],
        user_id=owners[report.owner].tenant.user_id,
        request_no=report.request_no,
        reason=f"reason {number}",
        picture=picture if completed else None,
    )


async def outcomes(pool: Pool, ids: Sequence[UUID]) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "SELECT screenshot_status, screenshot_reason, capture_request_no, capture_rank"
        " FROM signals WHERE id = ANY($1) ORDER BY id",
        ids,
    )
    return [tuple(row) for row in rows]


async def check(store: Store, told: Sequence[Report], cuts: Sequence[int]) -> None:
    signals = [new_signal(store.owners[OURS]) for _ in range(3)]
    ids = [signal.signal_id for signal in signals[:2]]
    # a flagged account of the example before has stopped them
    await store.pool.execute("UPDATE user_config SET captures_stopped = false")
    await insert(store.pool, signals[:2])
    events = [event_of(report, number, signals, store.owners) for number, report in enumerate(told)]
    model = {signal_id: Row() for signal_id in ids}
    captures = CaptureStore(store.pool)
    edges = [0, *sorted(cut % (len(events) + 1) for cut in cuts), len(events)]
    for begin, end in pairwise(edges):
        await captures.apply(events[begin:end])
    for event in events:
        for signal_id in set(event.signal_ids) & model.keys():
            if event.user_id == store.owners[OURS].tenant.user_id:
                model[signal_id].take(event)
    found = await outcomes(store.pool, ids)
    assert found == [model[signal_id].outcome() for signal_id in ids]
    await check_pictures(store, model)
    await captures.apply(events[::-1])
    again = await outcomes(store.pool, ids)
    assert [row[2:] for row in again] == [row[2:] for row in found]


async def check_pictures(store: Store, model: dict[UUID, Row]) -> None:
    """A completed row shows the picture of the event that stands."""
    rows = await store.pool.fetch(
        "SELECT signal_id, screenshot_key FROM signal_screenshots WHERE signal_id = ANY($1)", list(model)
    )
    found = {row["signal_id"]: row["screenshot_key"] for row in rows}
    for signal_id, row in model.items():
        if row.standing is not None and row.standing.kind is CaptureEventKind.COMPLETED:
            assert found[signal_id] == row.picture


@hypothesis_settings(max_examples=60)
@given(told=st.lists(reports, max_size=8), cuts=st.lists(st.integers(0, 8), max_size=4))
def test_a_row_ends_with_the_greatest_event(store: Store, told: list[Report], cuts: list[int]) -> None:
    """Whatever the order, the repetition and the batches; events of other users and rows change nothing."""
    store.runner.run(check(store, told, cuts))
