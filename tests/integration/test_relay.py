"""Tenant changes on their way from a real database to a real topic."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from runtime.directory import DirectoryReader
from runtime.errors import TransientError
from runtime.postgres import Pool, open_pool
from runtime.publisher import Publisher, open_publisher
from runtime.settings import PostgresSettings
from schemas.codec import encode
from schemas.plans import Plan
from schemas.topics import TENANTS
from tests.support.relay import Bench, Interposed, Late, new_relay, running, until_known, write
from tests.support.tenants import create_local_topics, kafka_settings, new_customer
from tests.support.topiclog import TopicLog, open_topic_log
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def topic(kafka_bootstrap: str) -> AsyncIterator[TopicLog]:
    await create_local_topics(kafka_bootstrap)
    async with open_topic_log(kafka_bootstrap, TENANTS.name) as log:
        yield log


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    async with open_publisher(kafka_settings(kafka_bootstrap), "test-relay") as publisher:
        yield publisher


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": postgres_url}), "test") as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def bench(pool: Pool, kafka_bootstrap: str, publisher: Publisher, topic: TopicLog) -> Bench:
    await pool.execute("TRUNCATE users CASCADE")
    interposed = Interposed(publisher)
    return Bench(pool, new_relay(pool, interposed), interposed, topic, kafka_bootstrap)


async def test_a_new_tenant_is_published_once(bench: Bench) -> None:
    """Its record says what ingress and processors must know, and the row that it was said."""
    customer = await bench.insert(new_customer(Plan.PRO, revision=3))
    assert await bench.relay.relay() == 1
    assert await bench.relay.relay() == 0
    assert await bench.published(customer) == [customer.tenant]
    assert await bench.marked(customer) == 3


async def test_a_change_is_published_with_its_newest_revision(bench: Bench) -> None:
    """Several changes between two rounds are one record."""
    customer = await bench.insert(new_customer())
    await bench.relay.relay()
    await bench.change(customer, "plan = 'basic'")
    await bench.change(customer, "webhook_enabled = false")
    assert await bench.relay.relay() == 1
    newest = (await bench.published(customer))[-1]
    assert (newest.revision, newest.plan, newest.webhook_enabled) == (3, Plan.BASIC, False)


async def test_captures_are_enabled_only_by_consent_and_without_a_stop(bench: Bench) -> None:
    """What the ingress tells the sender about pictures follows the tenant's configuration."""
    refused = await bench.insert(new_customer(captures_enabled=False))
    stopped = await bench.insert(new_customer())
    await bench.pool.execute(
        "UPDATE user_config SET captures_stopped = true WHERE user_id = $1", stopped.tenant.user_id
    )
    assert await bench.relay.relay() == 2
    for customer in (refused, stopped):
        assert [tenant.captures_enabled for tenant in await bench.published(customer)] == [False]


async def test_a_deleted_tenant_is_published_as_deleted(bench: Bench) -> None:
    """Readers keep the record and know the token no more."""
    customer = await bench.insert(new_customer())
    await bench.relay.relay()
    await bench.change(customer, "deleted_at = now()")
    await bench.relay.relay()
    assert [tenant.deleted for tenant in await bench.published(customer)] == [False, True]
    async with bench.directory() as reader:
        assert reader.directory.by_token_hash(customer.tenant.token_hashes[0]) is None


async def test_a_previous_token_is_valid_until_its_grace_is_over(bench: Bench) -> None:
    """The relay itself ends the grace time and publishes that the old hash is gone."""
    customer = await bench.insert(new_customer())
    old = bytes(range(32))
    await bench.pool.execute(
        "UPDATE users SET previous_token_hash = $2, previous_token_until = now() + interval '1 hour',"
        " revision = revision + 1 WHERE id = $1",
        customer.tenant.user_id,
        old,
    )
    await bench.relay.relay()
    assert (await bench.published(customer))[-1].token_hashes == [*customer.tenant.token_hashes, old.hex()]
    await bench.pool.execute("UPDATE users SET previous_token_until = now()")
    assert await bench.relay.relay() == 1
    newest = (await bench.published(customer))[-1]
    assert (newest.token_hashes, newest.revision) == (customer.tenant.token_hashes, 3)
    assert await bench.pool.fetchval("SELECT previous_token_hash FROM users") is None
    assert await bench.relay.relay() == 0


async def test_an_older_revision_is_never_published_after_a_newer_one(bench: Bench) -> None:
    """While one relay has read a row and not yet published it, no other relay publishes."""
    customer = await bench.insert(new_customer())
    slow = Interposed(bench.publisher.publisher)
    slow.go.clear()
    relaying = asyncio.create_task(new_relay(bench.pool, slow).relay())
    await slow.held.wait()
    await bench.change(customer, "plan = 'free'")
    assert await bench.relay.relay() == 0
    slow.go.set()
    assert await relaying == 1
    assert await bench.relay.relay() == 1
    assert [tenant.revision for tenant in await bench.published(customer)] == [1, 2]


async def test_relays_side_by_side_publish_every_change(bench: Bench) -> None:
    """Two sinks and many changes: revisions only grow on the topic, and the last one is there."""
    customers = [await bench.insert(new_customer()) for _ in range(5)]
    relays = [bench.relay, new_relay(bench.pool, bench.publisher)]
    for _ in range(10):
        changes = [bench.change(customer, "webhook_enabled = NOT webhook_enabled") for customer in customers]
        await asyncio.gather(*changes, *(relay.relay() for relay in relays))
    await bench.relay.relay()
    for customer in customers:
        revisions = [tenant.revision for tenant in await bench.published(customer)]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == 11


async def test_a_crash_before_the_mark_publishes_again(bench: Bench) -> None:
    """What was published and not marked is published once more: readers keep the revision."""
    customer = await bench.insert(new_customer())
    bench.publisher.after.append(TransientError("gone"))
    with pytest.raises(TransientError):
        await bench.relay.relay()
    assert await bench.marked(customer) == 0
    assert await bench.relay.relay() == 1
    assert [tenant.revision for tenant in await bench.published(customer)] == [1, 1]
    assert await bench.marked(customer) == 1


async def test_a_change_during_the_publication_is_published_next(bench: Bench) -> None:
    """The mark is the revision that was read, never the one that came in the meantime."""
    customer = await bench.insert(new_customer())
    bench.publisher.go.clear()
    relaying = asyncio.create_task(bench.relay.relay())
    await bench.publisher.held.wait()
    await bench.change(customer, "plan = 'free'")
    bench.publisher.go.set()
    await relaying
    assert await bench.marked(customer) == 1
    assert await bench.relay.relay() == 1


async def test_more_tenants_than_a_batch_are_published_batch_by_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tenant is left over and none comes twice."""
    monkeypatch.setattr("sinks.relay.BATCH", 2)
    customers = [await bench.insert(new_customer()) for _ in range(5)]
    assert [await bench.relay.relay() for _ in range(4)] == [2, 2, 1, 0]
    assert {len(await bench.published(customer)) for customer in customers} == {1}


async def test_a_topic_that_lost_tenants_gets_them_again(bench: Bench) -> None:
    """A new cluster is filled at the start of a sink, though every row is marked as published."""
    lost, present = await bench.insert(new_customer(revision=2)), await bench.insert(new_customer())
    await bench.pool.execute("UPDATE users SET published_revision = 2 WHERE revision = 2")
    await bench.relay.relay()
    async with bench.directory() as reader:
        assert reader.directory.by_id(lost.tenant.user_id) is None
        running = asyncio.create_task(bench.relay.run(reader))
        try:
            assert await until_known(reader, lost.tenant.user_id) == lost.tenant
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert len(await bench.published(present)) == 1


async def test_the_relay_goes_on_after_an_outage(bench: Bench) -> None:
    """A publisher or database that is away is waited for; anything else ends the process."""
    bench.publisher.before.append(TransientError("away"))
    customer = await bench.insert(new_customer())
    async with bench.directory() as reader:
        running = asyncio.create_task(bench.relay.run(reader))
        try:
            await until_known(reader, customer.tenant.user_id)
            bench.publisher.before.append(ZeroDivisionError())
            await bench.change(customer, "plan = 'free'")
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(running, 20)
        finally:
            running.cancel()


@pytest.mark.parametrize("started", ["before", "after"])
async def test_an_older_revision_that_lands_last_is_overwritten(bench: Bench, started: str) -> None:
    """Compaction keeps the last record of a tenant: a write that was given up and lands must not be it.

    The relay may have been at work by then, or start only later.
    """
    customer = await bench.insert(new_customer())
    late = Late(bench.publisher.publisher)
    with pytest.raises(TimeoutError):
        await new_relay(bench.pool, late).relay()
    await bench.change(customer, "plan = 'free'")
    assert await bench.relay.relay() == 1
    if started == "after":
        await late.land()
    async with bench.directory() as reader, running(bench.relay, reader):
        if started == "before":
            # a relay that publishes is past what it does at its start
            await bench.until_last(await bench.insert(new_customer()), 1)
            await late.land()
        await bench.until_last(customer, 2)
        async with bench.directory() as late_reader:
            assert not late_reader.directory.overwritten()
        revisions = [tenant.revision for tenant in await bench.published(customer)]
        assert revisions == [2, 1, 2]
    assert await bench.marked(customer) == 2


@pytest.mark.parametrize("value", [None, b"nonsense"])
async def test_what_is_no_tenant_does_not_stay_the_last_record(bench: Bench, value: bytes | None) -> None:
    """A tombstone or garbage under a tenant's key would be all that compaction leaves of the tenant."""
    customer = await bench.insert(new_customer(revision=4))
    async with bench.directory() as reader, running(bench.relay, reader):
        await bench.until_last(customer, 4)
        await write(bench.bootstrap, customer.key, value)
        await bench.until_last(customer, 4)
        assert len(await bench.topic.of(customer.key)) == 3


async def test_a_newer_revision_than_the_databases_is_not_fought(bench: Bench) -> None:
    """After a restore from a backup the topic may know more; publishing less again and again helps nobody."""
    customer = await bench.insert(new_customer(revision=2))
    ahead = customer.with_changes(plan=Plan.FREE)
    await write(bench.bootstrap, customer.key, encode(ahead.tenant))
    assert await bench.relay.relay() == 1
    async with bench.directory() as reader:
        assert reader.directory.overwritten() == {customer.tenant.user_id: 3}
        await bench.relay.republish_overwritten(reader)
        assert await bench.relay.relay() == 0


async def test_a_change_in_the_database_comes_into_force_everywhere(bench: Bench) -> None:
    """In every process that follows: plan, switch, tokens and deletion."""
    customer = await bench.insert(new_customer())
    token_hash = customer.tenant.token_hashes[0]
    async with bench.directory() as ingress, bench.directory() as processor, running(bench.relay, ingress):
        changes = {
            "plan = 'free'": lambda known: known.plan is Plan.FREE,
            "webhook_enabled = false": lambda known: not known.webhook_enabled,
            "webhook_token_hash = decode(repeat('ab', 32), 'hex')": lambda known: (
                known.token_hashes == ["ab" * 32]
            ),
            "deleted_at = now()": lambda known: known.deleted,
        }
        for assignments, in_force in changes.items():
            await bench.change(customer, assignments)
            for reader in (ingress, processor):

                async def look(reader: DirectoryReader = reader, in_force: Any = in_force) -> bool:
                    known = reader.directory.by_id(customer.tenant.user_id)
                    return known is not None and in_force(known)

                await eventually(look)
        assert ingress.directory.by_token_hash(token_hash) is None
