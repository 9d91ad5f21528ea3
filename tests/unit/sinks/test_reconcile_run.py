"""A run of the ledger over a pipeline of lists."""

import itertools
from collections.abc import Callable, Collection
from uuid import UUID

import pytest

from runtime.ids import uuid7
from schemas.plans import Plan
from schemas.records import Disposition
from schemas.topics import (
    DEADLETTERS,
    SIGNALS,
    SIGNALS_REPLAY,
    WEBHOOKS_OVERFLOW,
    WEBHOOKS_RAW,
    WEBHOOKS_REPLAY,
)
from sinks.reconcile import Loss, Outcome, UserState, Window
from sinks.reconcile_run import PARSED, WEBHOOKS
from tests.support.accounting import NOW_MS, OTHER_USER, USER, FakePipeline, Held, reconcile

RAW, OVERFLOW, REPLAY = WEBHOOKS_RAW.name, WEBHOOKS_OVERFLOW.name, WEBHOOKS_REPLAY.name


def at_the_store(pipeline: FakePipeline, event: Callable[[], object]) -> None:
    """It happens once, when the topics have been read and the store is asked for the first time."""
    waits = itertools.count()

    def maybe() -> None:
        if next(waits) == 1 + len(pipeline.shelves):
            event()

    pipeline.meanwhile = maybe


async def test_copies_count_once() -> None:
    """On one topic, on another and in a replay."""
    pipeline = FakePipeline()
    signal_id = pipeline.accept(RAW)
    for topic in (RAW, OVERFLOW, REPLAY):
        pipeline.repeat(topic, signal_id)
    pipeline.drain()
    result = await reconcile(pipeline)
    assert (result.accepted, result.totals) == (1, {Outcome.STORED: 1})


async def test_parked_is_told_from_stored() -> None:
    """By the row's disposition."""
    pipeline = FakePipeline()
    parked = pipeline.accept(RAW)
    pipeline.accept(RAW)
    pipeline.drain()
    pipeline.rows[parked] = Disposition.PARKED
    assert (await reconcile(pipeline)).totals == {Outcome.STORED: 1, Outcome.PARKED: 1}


async def test_what_no_group_has_taken_is_in_flight() -> None:
    """Groups that never committed: nothing is lost before somebody has worked."""
    pipeline = FakePipeline()
    for topic in (RAW, OVERFLOW, REPLAY):
        pipeline.accept(topic)
    assert (await reconcile(pipeline)).totals == {Outcome.IN_FLIGHT: 3}


@pytest.mark.parametrize("topic", sorted(WEBHOOKS))
async def test_what_waits_for_the_sink_is_in_flight(topic: str) -> None:
    """Also in the replay's lane; only once the sink has acknowledged it is it missing."""
    pipeline = FakePipeline()
    signal_id = pipeline.accept(topic)
    pipeline.work(topic)
    pipeline.commit(topic)
    assert (await reconcile(pipeline)).totals == {Outcome.IN_FLIGHT: 1}
    pipeline.drain()
    pipeline.rows.clear()
    result = await reconcile(pipeline)
    assert [(alert.signal_id, alert.loss) for alert in result.missing] == [(signal_id, Loss.AFTER_PROCESSORS)]


async def test_what_never_came_to_signals_is_lost_before() -> None:
    """Its record was acknowledged and nothing was published."""
    pipeline = FakePipeline()
    pipeline.accept(RAW)
    pipeline.shelves[RAW].handled = pipeline.shelves[RAW].committed = 1
    assert [alert.loss for alert in (await reconcile(pipeline)).missing] == [Loss.BEFORE_SIGNALS]


@pytest.mark.parametrize("topic", sorted(WEBHOOKS | PARSED))
async def test_a_letter_counts_until_it_is_put_back(topic: str) -> None:
    """Dead, then in flight, then dead again with a second letter, then lost if nothing is left of it."""
    pipeline = FakePipeline()
    origin = topic if topic in WEBHOOKS else {SIGNALS.name: RAW, SIGNALS_REPLAY.name: REPLAY}[topic]
    signal_id = pipeline.accept(origin)
    if topic != origin:
        pipeline.work(origin)
    pipeline.work(topic, dies=True)
    pipeline.drain()
    assert (await reconcile(pipeline)).totals == {Outcome.DEAD: 1}
    pipeline.redrive(signal_id, topic)
    assert (await reconcile(pipeline)).totals == {Outcome.IN_FLIGHT: 1}
    pipeline.work(topic, dies=True)
    pipeline.drain()
    assert (await reconcile(pipeline)).totals == {Outcome.DEAD: 1}
    pipeline.redrive(signal_id, topic)
    pipeline.drain()
    assert (await reconcile(pipeline)).totals == {Outcome.STORED: 1}
    pipeline.rows.clear()
    assert (await reconcile(pipeline)).missing_ids == {signal_id}


async def test_a_deleted_tenants_alerts_are_no_gap() -> None:
    """Those that the processors left out, not those that came to `signals` before the deletion."""
    pipeline = FakePipeline()
    lost = pipeline.accept(RAW)
    pipeline.drain()
    pipeline.rows.clear()
    pipeline.users_known[USER] = UserState(Plan.PRO, deleted=True)
    pipeline.accept(RAW)
    pipeline.drain()
    result = await reconcile(pipeline)
    assert result.totals == {Outcome.TENANT_DELETED: 1, Outcome.MISSING: 1}
    assert result.missing_ids == {lost}


async def test_a_row_without_a_webhook_is_no_gap() -> None:
    """Topics forget before the store does."""
    pipeline = FakePipeline()
    pipeline.accept(RAW)
    pipeline.drain()
    pipeline.shelves[RAW].records.clear()
    result = await reconcile(pipeline)
    assert (result.accepted, result.totals) == (0, {})


async def test_only_the_window_and_the_user_count() -> None:
    """By the id's time, whenever the record was appended."""
    pipeline = FakePipeline()
    pipeline.accept(RAW, received_ms=NOW_MS - 200)
    wanted = pipeline.accept(RAW, received_ms=NOW_MS - 100)
    other = pipeline.accept(RAW, OTHER_USER, NOW_MS - 100)
    pipeline.drain()
    pipeline.rows.clear()
    window = Window(NOW_MS - 100, NOW_MS)
    assert (await reconcile(pipeline, window)).missing_ids == {wanted, other}
    assert (await reconcile(pipeline, Window(NOW_MS - 100, NOW_MS, USER.bytes))).missing_ids == {wanted}


async def test_webhooks_that_cannot_be_followed_are_counted_apart() -> None:
    """Another program wrote them: they are told, and are no gap."""
    pipeline = FakePipeline()
    pipeline.shelves[RAW].put(str(USER).encode(), [("ce_id", b"alert")])
    pipeline.shelves[RAW].put(str(OTHER_USER).encode(), [])
    assert (await reconcile(pipeline)).unreadable == 2
    assert (await reconcile(pipeline, Window(user_id=USER.bytes))).unreadable == 1


async def test_what_is_put_back_by_hand_meanwhile_is_found_at_the_second_look() -> None:
    """A replay that starts after the topics were read; the alert is on its way again."""
    pipeline = FakePipeline()
    signal_id = pipeline.accept(RAW)
    pipeline.drain()
    pipeline.rows.clear()
    at_the_store(pipeline, lambda: pipeline.repeat(REPLAY, signal_id))
    result = await reconcile(pipeline)
    assert (result.totals, result.missing) == ({Outcome.IN_FLIGHT: 1}, [])


async def test_a_group_that_is_set_back_meanwhile_makes_in_flight() -> None:
    """After a restore its records are read again; they lie before the end of the first look."""
    pipeline = FakePipeline()
    pipeline.accept(RAW)
    pipeline.drain()
    pipeline.rows.clear()

    def set_back() -> None:
        pipeline.shelves[SIGNALS.name].committed = 0

    at_the_store(pipeline, set_back)
    assert (await reconcile(pipeline)).totals == {Outcome.IN_FLIGHT: 1}


async def test_the_second_look_is_about_what_was_accepted_before() -> None:
    """New alerts are for the next run; a tenant that was deleted meanwhile is known as deleted."""
    pipeline = FakePipeline()
    pipeline.accept(RAW)
    pipeline.shelves[RAW].handled = pipeline.shelves[RAW].committed = 1
    ask_users = pipeline.users

    async def users_then_go_on(user_ids: Collection[UUID]) -> dict[UUID, UserState]:
        known = await ask_users(user_ids)
        if pipeline.minted == 1:
            pipeline.accept(RAW)
            pipeline.users_known[USER] = UserState(Plan.PRO, deleted=True)
        return known

    pipeline.users = users_then_go_on  # type: ignore[method-assign]  # the answer is older than the deletion
    result = await reconcile(pipeline)
    assert (result.accepted, result.totals) == (1, {Outcome.TENANT_DELETED: 1})


async def test_what_the_ingress_buried_is_accepted_and_dead() -> None:
    """No topic ever held it; a letter of a webhook that was on its topic adds no alert."""
    pipeline = FakePipeline()
    pipeline.bury(RAW, Held(0, str(USER).encode(), [("ce_id", str(uuid7(NOW_MS, 0, 1)).encode())]))
    assert (await reconcile(pipeline)).totals == {}
    [letter] = pipeline.shelves[DEADLETTERS.name].records
    homeless = [header for header in letter.headers if header[0] not in {"dl_partition", "dl_offset"}]
    pipeline.shelves[DEADLETTERS.name].put(letter.key, homeless)
    assert (await reconcile(pipeline)).totals == {Outcome.DEAD: 1}
