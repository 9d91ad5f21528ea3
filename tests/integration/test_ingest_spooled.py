"""The whole ingress without any broker: nothing is answered 200 before the disk has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio

from deploy.local.ports import Ports
from tests.support.crashed_disk import crashed_disk
from tests.support.http import Answer, post
from tests.support.ingress import RunningIngress, running_ingress
from tests.support.spool import disk, metric, spool_in
from tests.support.stack import free_port
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants

AT_ONCE = 100


@pytest_asyncio.fixture
async def customer(kafka_bootstrap: str, tmp_path: Path) -> Customer:
    """A tenant in the snapshot of the state folder."""
    await create_local_topics(kafka_bootstrap)
    customer = new_customer()
    await publish_tenants(kafka_bootstrap, customer)
    async with running_ingress(kafka_bootstrap, state_directory=tmp_path) as ingress:
        await ingress.until_ready()
        await ingress.until_current()
    return customer


@asynccontextmanager
async def ingress_without_kafka(state: Path) -> AsyncIterator[RunningIngress]:
    """Where the broker should be nobody listens."""
    ports = Ports()
    try:
        async with running_ingress(f"127.0.0.1:{free_port(ports)}", state_directory=state) as ingress:
            yield ingress
    finally:
        ports.close()


async def test_every_200_costs_a_sync_before_it(customer: Customer, tmp_path: Path) -> None:
    """Calls one after the other: each has its own sync of the journal, done when the answer is there."""
    with disk() as drive:
        async with ingress_without_kafka(tmp_path) as ingress:
            for number in range(10):
                before = drive.journal_syncs
                answer = await post(ingress.port, customer.path, b"BUY %d" % number)
                assert answer.status == 200
                assert drive.journal_syncs > before


async def test_no_answer_comes_while_a_sync_lasts(customer: Customer, tmp_path: Path) -> None:
    """Written is not synced: the 200 waits for the disk."""
    with disk() as drive:
        async with ingress_without_kafka(tmp_path) as ingress:
            drive.may_sync.clear()
            posting = asyncio.create_task(post(ingress.port, customer.path, b"BUY"))
            try:
                _done, waiting = await asyncio.wait({posting}, timeout=0.3)
                assert waiting == {posting}
            finally:
                drive.may_sync.set()
            assert (await posting).status == 200


async def test_a_sync_that_lasts_too_long_is_no_200(customer: Customer, tmp_path: Path) -> None:
    """The sender is told to come again while it still listens."""
    with disk() as drive:
        async with ingress_without_kafka(tmp_path) as ingress:
            drive.may_sync.clear()
            try:
                async with asyncio.timeout(2.9):
                    answer = await post(ingress.port, customer.path, b"BUY")
            finally:
                drive.may_sync.set()
            assert_come_again(answer)


async def test_a_sync_that_fails_is_no_200(customer: Customer, tmp_path: Path) -> None:
    """What the disk refuses is answered 503; once it accepts again, 200."""
    with disk() as drive:
        async with ingress_without_kafka(tmp_path) as ingress:
            drive.broken = True
            assert_come_again(await post(ingress.port, customer.path, b"refused"))
            drive.broken = False
            assert (await post(ingress.port, customer.path, b"accepted")).status == 200


async def test_calls_at_once_share_syncs(customer: Customer, tmp_path: Path) -> None:
    """A bar close costs some syncs, not one for each alert, and all of it is on disk."""
    with disk() as drive:
        async with ingress_without_kafka(tmp_path) as ingress:
            before = drive.journal_syncs
            answers = await asyncio.gather(
                *(post(ingress.port, customer.path, b"BUY %d" % number) for number in range(AT_ONCE))
            )
            assert {answer.status for answer in answers} == {200}
            assert 1 <= drive.journal_syncs - before < AT_ONCE
            assert metric(ingress.context, "spool_records") == AT_ONCE


async def test_a_loss_of_power_after_the_answer_loses_nothing(customer: Customer, tmp_path: Path) -> None:
    """Of what was synced when the last 200 came another process finds every accepted alert."""
    state, crashed = tmp_path, tmp_path / "crashed"
    with crashed_disk() as drive:
        async with ingress_without_kafka(state) as ingress:
            answers = [await post(ingress.port, customer.path, b"BUY %d" % number) for number in range(20)]
            drive.leave(state / "spool", crashed)
    assert {answer.status for answer in answers} == {200}
    async with spool_in(crashed) as (spool, _):
        found = [dict(one.message.headers)["signal_id"].decode() for one in await spool.oldest(100)]
    assert found == [answer.json["signal_id"] for answer in answers]


def assert_come_again(answer: Answer) -> None:
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
