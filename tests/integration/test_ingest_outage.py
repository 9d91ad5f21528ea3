"""The ingress while its broker is frozen, dead or not yet there: accepted all the same, or 503 in time."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.topics import WEBHOOKS_RAW
from tests.support.http import Answer, post
from tests.support.ingress import RunningIngress, running_ingress
from tests.support.outage import FrailBroker, frail_broker
from tests.support.skew import AheadClock
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants
from tests.support.topiclog import open_topic_log
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACK_DEADLINE_S = 0.7
RESEND_S = 5


@dataclass(frozen=True)
class Site:
    broker: FrailBroker
    ingress: RunningIngress
    clock: AheadClock

    @property
    def port(self) -> int:
        return self.ingress.port

    async def resend(self, customer: Customer, body: bytes) -> Answer:
        """What the sender does 5 s after a 5xx."""
        self.clock.skip(RESEND_S)
        return await post(self.port, customer.path, body)


@pytest.fixture(scope="module")
def broker() -> Iterator[FrailBroker]:
    with frail_broker() as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(broker: FrailBroker) -> AsyncIterator[Site]:
    """Without a volume, so without a spool."""
    await create_local_topics(broker.bootstrap)
    async with serving(broker) as site:
        await site.ingress.until_ready()
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def customer(site: Site) -> Customer:
    """A tenant whose first alert has been accepted."""
    customer = new_customer()
    await publish_tenants(site.broker.bootstrap, customer)
    # a broker of which the test before took leave comes back in its own time
    await eventually(lambda: is_accepted(site, customer))
    return customer


async def is_accepted(site: Site, customer: Customer) -> bool:
    return (await post(site.port, customer.path, b"before")).status == 200


@asynccontextmanager
async def serving(broker: FrailBroker, **settings: object) -> AsyncIterator[Site]:
    clock = AheadClock()
    settings = {"ack_deadline_s": ACK_DEADLINE_S, **settings}
    async with running_ingress(broker.bootstrap, clock, **settings) as ingress:
        yield Site(broker, ingress, clock)


async def test_an_alert_of_an_outage_and_its_resends_are_one_signal(site: Site, customer: Customer) -> None:
    """503 while nothing is acked; whatever the producer wrote in the end has the id the sender is told."""
    with site.broker.frozen():
        assert_come_again(await post(site.port, customer.path, b"outage"))
        assert_come_again(await site.resend(customer, b"outage"))
    answer = await site.resend(customer, b"outage")
    assert answer.status == 200
    assert await ids_on_topic(site, customer, b"outage") == {answer.json["signal_id"]}


async def test_an_equal_alert_sent_sooner_is_a_signal_of_its_own(site: Site, customer: Customer) -> None:
    """Two equal alerts that both met the outage, and both resends, are two signals."""
    with site.broker.frozen():
        for answer in await asyncio.gather(*(post(site.port, customer.path, b"twice") for _ in range(2))):
            assert_come_again(answer)
    answers = [await site.resend(customer, b"twice"), await post(site.port, customer.path, b"twice")]
    told = {answer.json["signal_id"] for answer in answers}
    assert len(told) == 2
    assert await ids_on_topic(site, customer, b"twice") == told


async def test_the_default_deadline_answers_before_the_sender_leaves(
    broker: FrailBroker, customer: Customer
) -> None:
    """With the settings of production the 503 comes while the sender, who waits 3 s, still listens."""
    async with serving(broker, ack_deadline_s=1.5) as site:
        await site.ingress.until_ready()
        await site.ingress.until_current()
        with broker.frozen():
            async with asyncio.timeout(2.9):
                assert_come_again(await post(site.port, customer.path, b"patience"))


async def test_no_token_is_unknown_while_nobody_can_say_so(site: Site, customer: Customer) -> None:
    """In an outage any token may be one that was just made: 503, and 200 or 404 once the broker is back."""
    newcomer, nobody = new_customer(), new_customer()
    with site.broker.frozen():
        publishing = asyncio.create_task(publish_tenants(site.broker.bootstrap, newcomer))
        paths = (newcomer.path, nobody.path, "/webhook/u/short")
        for answer in await asyncio.gather(*(post(site.port, path) for path in paths)):
            assert_come_again(answer)
    await publishing
    await site.ingress.until_ready()
    assert (await post(site.port, newcomer.path)).status == 200
    # after an outage of some seconds the relay is given a few more
    await eventually(lambda: is_unknown(site, nobody))
    assert (await post(site.port, customer.path)).status == 200


async def is_unknown(site: Site, customer: Customer) -> bool:
    return (await post(site.port, customer.path)).status == 404


async def test_more_than_may_wait_is_refused_at_once(broker: FrailBroker, customer: Customer) -> None:
    """While one alert waits for its ack, another that does not fit beside it is answered before it."""
    async with serving(broker, ack_deadline_s=1.5, max_pending_bytes=10) as site:
        await site.ingress.until_ready()
        await site.ingress.until_current()
        assert (await post(site.port, customer.path, b"room")).status == 200
        with broker.frozen():
            waiting = asyncio.create_task(post(site.port, customer.path, b"12345678"))
            await until_pending(site, 1)
            assert_come_again(await post(site.port, customer.path, b"123"))
            assert not waiting.done()
            assert_come_again(await waiting)
        await until_pending(site, 0)
        assert (await post(site.port, customer.path, b"1234567890")).status == 200


async def test_a_killed_broker_comes_back_without_a_restart_of_ours(site: Site, customer: Customer) -> None:
    """Also an ingress started in the meantime answers 503, never refuses a connection, and recovers."""
    site.broker.kill()
    async with serving(site.broker) as late:
        for port in (site.port, late.port):
            assert_come_again(await post(port, customer.path, b"killed"))
        assert (await post(late.port, "/health")).status == 404
        assert set(await late.ingress.context.readiness.problems()) == {"directory", "producer"}
        site.broker.start()
        for one in (site, late):
            await one.ingress.until_ready()
        answer = await site.resend(customer, b"killed")
        assert (answer.status, (await post(late.port, customer.path, b"late")).status) == (200, 200)
        assert await ids_on_topic(site, customer, b"killed") == {answer.json["signal_id"]}
        assert await ids_on_topic(site, customer, b"before") != set()
    assert not site.ingress.context.failed.done()


async def test_with_a_spool_an_outage_is_not_noticed(
    broker: FrailBroker, customer: Customer, tmp_path: Path
) -> None:
    """Accepted, also straight to the disk once Kafka is silent; all on the topic afterwards, in order."""
    async with serving(broker, state_directory=tmp_path) as site:
        await site.ingress.until_ready()
        await site.ingress.until_current()
        with broker.frozen():
            told = [await accepted(site, customer, b"frozen-%d" % number) for number in range(6)]
            assert spooled(site) == len(told)
        await until_drained(site)
        assert {await accepted(site, customer, b"after")} <= await ids_of(site, customer)
        assert set(told) <= await ids_of(site, customer)


async def test_what_was_spooled_outlives_the_process_and_the_broker(
    broker: FrailBroker, customer: Customer, tmp_path: Path
) -> None:
    """An ingress that starts without Kafka knows its tenants, accepts, and a later one delivers."""
    async with serving(broker, state_directory=tmp_path) as site:
        await site.ingress.until_ready()
        await site.ingress.until_current()
    broker.kill()
    try:
        async with serving(broker, state_directory=tmp_path) as site:
            told = {await accepted(site, customer, b"dark-%d" % number) for number in range(4)}
            assert_come_again(await post(site.port, new_customer().path, b"who"))
    finally:
        broker.start()
    async with serving(broker, state_directory=tmp_path) as site:
        await site.ingress.until_ready()
        await until_drained(site)
        assert told <= await ids_of(site, customer)


async def test_a_worker_leaves_the_calls_to_its_neighbours_until_it_can_take_them(
    broker: FrailBroker, customer: Customer
) -> None:
    """With an inherited socket the first call it accepts is one it can answer, though it has just begun."""
    with socket.create_server(("127.0.0.1", 0)) as shared:
        port = shared.getsockname()[1]
        async with serving(broker, listen_fd=os.dup(shared.fileno())):
            assert (await post(port, customer.path)).status == 200


async def test_a_worker_does_not_wait_for_ever(broker: FrailBroker) -> None:
    """If nobody knows more than it does, an answer is better than none."""
    with socket.create_server(("127.0.0.1", 0)) as shared, broker.frozen():
        port = shared.getsockname()[1]
        async with serving(broker, listen_fd=os.dup(shared.fileno())):
            assert_come_again(await post(port, new_customer().path))


async def accepted(site: Site, customer: Customer, body: bytes) -> str:
    """The signal id of an alert that was answered 200 before its sender left."""
    async with asyncio.timeout(2.9):
        answer = await post(site.port, customer.path, body)
    assert answer.status == 200, answer
    return str(answer.json["signal_id"])


def spooled(site: Site) -> float | None:
    return site.ingress.context.metrics.registry.get_sample_value("alerts_spool_records")


async def until_drained(site: Site) -> None:
    async def drained() -> bool:
        return spooled(site) == 0

    await eventually(drained)


async def ids_of(site: Site, customer: Customer) -> set[str]:
    async with open_topic_log(site.broker.bootstrap, WEBHOOKS_RAW.name) as log:
        return {signal_id_of(record) for record in await log.of(customer.key)}


def assert_come_again(answer: Answer) -> None:
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.json == {"success": False, "error": "unavailable"}


async def ids_on_topic(site: Site, customer: Customer, body: bytes) -> set[str]:
    async with open_topic_log(site.broker.bootstrap, WEBHOOKS_RAW.name) as log:
        return {signal_id_of(record) for record in await log.of(customer.key) if record.value == body}


def signal_id_of(record: Any) -> str:
    signal_id: bytes = dict(record.headers)["signal_id"]
    return signal_id.decode()


async def until_pending(site: Site, count: int) -> None:
    async def reached() -> bool:
        registry = site.ingress.context.metrics.registry
        return registry.get_sample_value("alerts_webhook_pending") == count

    await eventually(reached)
