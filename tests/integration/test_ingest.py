"""The ingress on a real port before a real broker: what is accepted, what is kept, what is told."""

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from ingest.webhook import MAX_BODY_BYTES
from runtime.ids import received_at_of
from schemas.headers import WebhookMetadata, read_webhook_metadata
from schemas.plans import Plan
from schemas.topics import CAPTURES, WEBHOOKS_RAW
from tests.support.broker import produce
from tests.support.http import exchange, post, request
from tests.support.ingress import RunningIngress, running_ingress
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants
from tests.support.topiclog import TopicLog, open_topic_log
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN_TOKEN = "x" * 32


@dataclass(frozen=True)
class Site:
    """A served ingress and the broker behind it."""

    bootstrap: str
    ingress: RunningIngress
    raw: TopicLog

    @property
    def port(self) -> int:
        return self.ingress.port

    async def admit(self, *customers: Customer) -> None:
        """Return once the ingress knows them in this revision."""
        await publish_tenants(self.bootstrap, *customers)
        await self.ingress.until_current()

    async def kept(self, customer: Customer) -> list[Any]:
        """The customer's records on the topic, in the order of their ids."""
        own = await self.raw.of(customer.key)
        return sorted(own, key=lambda record: metadata_of(record).signal_id)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(kafka_bootstrap: str) -> AsyncIterator[Site]:
    await create_local_topics(kafka_bootstrap)
    async with (
        open_topic_log(kafka_bootstrap, WEBHOOKS_RAW.name) as raw,
        running_ingress(kafka_bootstrap) as ingress,
    ):
        await ingress.until_ready()
        yield Site(kafka_bootstrap, ingress, raw)


@pytest_asyncio.fixture(loop_scope="module")
async def customer(site: Site) -> Customer:
    customer = new_customer()
    await publish_tenants(site.bootstrap, customer)
    return customer


def metadata_of(record: Any) -> WebhookMetadata:
    return read_webhook_metadata(record.headers)


async def test_an_accepted_alert_is_on_the_topic_with_all_that_is_known(
    site: Site, customer: Customer
) -> None:
    """200 means acked: the record is there under the id of the answer, keyed by tenant."""
    answer = await post(
        site.port, customer.path + "?chart=Zz9", b"BTC", User_Agent="Go-http/1.1", Content_Type="text/plain"
    )
    signal_id = UUID(answer.json["signal_id"])
    (record,) = await site.kept(customer)
    assert answer.status == 200
    assert record.value == b"BTC"
    assert metadata_of(record) == WebhookMetadata(
        signal_id=signal_id,
        received_at=received_at_of(signal_id),
        client_address="127.0.0.1",
        user_agent="Go-http/1.1",
        content_type="text/plain",
        query="chart=Zz9",
        tenant_revision=1,
        body_bytes=3,
    )
    assert dict(record.headers)["ce_id"] == str(signal_id).encode()


async def test_bodies_are_kept_byte_for_byte(site: Site, customer: Customer) -> None:
    """Nothing is decoded, trimmed or refused for what it holds."""
    largest = random.Random(4).randbytes(MAX_BODY_BYTES)
    bodies = [
        b"",
        b"\x00\x00",
        b"\xff\xfe\xc3(",
        b"\r\n ",
        "señal 🟢".encode(),
        gzip.compress(b"{}"),
        largest,
    ]
    for body in bodies:
        assert (await post(site.port, customer.path, body)).status == 200
    assert [record.value for record in await site.kept(customer)] == bodies


async def test_the_query_is_kept_as_it_came(site: Site, customer: Customer) -> None:
    """Order, repeats, escapes and what does not decode are for the processors to judge."""
    queries = ["", "chart=Ab3dE9xZ", "chart=a&chart=b", "chart=%41%20b+c&x=%FF&&=", "?a=1?", "chart="]
    for query in queries:
        assert (await post(site.port, f"{customer.path}?{query}")).status == 200
    assert [metadata_of(record).query for record in await site.kept(customer)] == queries


async def test_what_describes_the_body_changes_nothing(site: Site, customer: Customer) -> None:
    """Types and encodings are noted, not acted upon: TradingView's users cannot set them."""
    described = [
        {},
        {"Content_Type": "application/json"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "multipart/form-data"},
        {"Content_Type": "text/plain; charset=no-such"},
        {"Content_Encoding": "gzip"},
        {"Content_Encoding": "deflate"},
    ]
    for headers in described:
        assert (await post(site.port, customer.path, b"a=1&b", **headers)).status == 200
    kept = await site.kept(customer)
    assert [record.value for record in kept] == [b"a=1&b"] * len(described)
    noted = [metadata_of(record).content_type for record in kept]
    assert noted == [headers.get("Content_Type", "") for headers in described]


async def test_long_headers_and_queries_are_cut_not_refused(site: Site, customer: Customer) -> None:
    """A record stays small whatever the sender says about itself."""
    answer = await post(site.port, f"{customer.path}?{'q' * 4000}", User_Agent="u" * 1000)
    (record,) = await site.kept(customer)
    assert answer.status == 200
    assert (metadata_of(record).query, metadata_of(record).user_agent) == ("q" * 2048, "u" * 256)


async def test_every_way_to_send_a_body_is_understood(site: Site, customer: Customer) -> None:
    """HTTP/1.0, chunks, no length at all, and a sender that waits to be asked."""
    head = f"POST {customer.path} HTTP/1.1\r\nHost: x\r\n"
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n2\r\nch\r\n5;x=1\r\nunked\r\n0\r\n\r\n"
    old = f"POST {customer.path} HTTP/1.0\r\nContent-Length: 3\r\n\r\nold"
    sent = [chunked, old, f"{head}\r\n", f"POST {customer.path} HTTP/1.0\r\n\r\n"]
    answers = [await exchange(site.port, text.encode()) for text in sent]
    assert [answer.status for answer in answers] == [200] * len(sent)
    assert [answer.version for answer in answers] == ["HTTP/1.1", "HTTP/1.0", "HTTP/1.1", "HTTP/1.0"]
    assert [record.value for record in await site.kept(customer)] == [b"chunked", b"old", b"", b""]


async def test_a_trailing_slash_is_fine(site: Site, customer: Customer) -> None:
    """People paste URLs with one, also before the query."""
    answers = [await post(site.port, customer.path + end, b"x") for end in ("/", "/?chart=Ab3dE9xZ")]
    assert [answer.status for answer in answers] == [200, 200]
    assert [metadata_of(record).query for record in await site.kept(customer)] == ["", "chart=Ab3dE9xZ"]


async def test_one_byte_too_many_is_refused(site: Site, customer: Customer) -> None:
    """Above 256 KiB it is a 413, with and without an announced length, and nothing is kept."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    answers = [
        await post(site.port, customer.path, body),
        await exchange(site.port, chunked(customer.path, body)),
    ]
    assert [(answer.status, answer.json["error"]) for answer in answers] == [(413, "body_too_large")] * 2
    assert (await exchange(site.port, chunked(customer.path, body[1:]))).status == 200
    assert [len(record.value) for record in await site.kept(customer)] == [MAX_BODY_BYTES]


async def test_a_token_that_is_not_one_answers_like_any_unknown_path(site: Site, customer: Customer) -> None:
    """Unknown, malformed and escaped tokens differ in nothing from a path that does not exist."""
    nowhere = await post(site.port, "/no/such/path", b"x")
    tokens = [
        UNKNOWN_TOKEN,
        customer.token[:-1],
        customer.token + "x",
        customer.token.swapcase(),
        "short",
        "x" * 129,
        "%00" + "x" * 40,
        "%FF" * 32,
        "%2F" + customer.token,
        "{token}" + "x" * 32,
        "%20" + customer.token,
        customer.token + "%0A",
    ]
    paths = [f"/webhook/u/{token}" for token in tokens]
    more = ["/", "/webhook", "/webhook/u", "/webhook/u/", f"/{customer.path}", f"{customer.path}//"]
    answers = await asyncio.gather(*(post(site.port, path, b"x") for path in [*paths, *more]))
    assert (nowhere.status, nowhere.json) == (404, {"success": False, "error": "not_found"})
    assert {repr(answer.undated) for answer in answers} == {repr(nowhere.undated)}
    assert await site.kept(customer) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_have_no_effect_and_tell_nothing(
    site: Site, customer: Customer, method: str
) -> None:
    """A right, a wrong, a disabled and a malformed token answer alike; nothing is kept."""
    disabled = new_customer(webhook_enabled=False)
    await site.admit(disabled)
    paths = [
        customer.path,
        disabled.path,
        f"/webhook/u/{UNKNOWN_TOKEN}",
        "/webhook/u/short",
        f"{customer.path}/",
    ]
    answers = [await exchange(site.port, request(method, path, b"x")) for path in paths]
    assert answers[0].status == 405
    assert len({repr(answer.undated) for answer in answers}) == 1
    assert await site.kept(customer) == []


async def test_a_disabled_webhook_tells_so_to_its_holder(site: Site, customer: Customer) -> None:
    """403 for the right token from the next record on, and accepted again once enabled."""
    disabled = customer.with_changes(webhook_enabled=False)
    await site.admit(disabled)
    answer = await post(site.port, customer.path)
    assert (answer.status, answer.json) == (403, {"success": False, "error": "webhook_disabled"})
    await site.admit(disabled.with_changes(webhook_enabled=True))
    assert (await post(site.port, customer.path)).status == 200
    assert [metadata_of(record).tenant_revision for record in await site.kept(customer)] == [3]


async def test_a_new_tenant_is_accepted_at_once(site: Site) -> None:
    """A token that was published before the alert came is never answered 404."""
    newcomer = new_customer()
    await publish_tenants(site.bootstrap, newcomer)
    assert (await post(site.port, newcomer.path)).status == 200


async def test_equal_alerts_at_once_are_two_signals(site: Site, customer: Customer) -> None:
    """Two time frames of one chart send the same text in the same second."""
    answers = await asyncio.gather(*(post(site.port, customer.path, b"same") for _ in range(2)))
    ids = {answer.json["signal_id"] for answer in answers}
    assert len(ids) == len(await site.kept(customer)) == 2


async def test_many_alerts_at_once_are_all_kept(site: Site) -> None:
    """500 connections at the same moment: every one is answered 200 and is on the topic under its id."""
    customers = [new_customer(), new_customer()]
    await publish_tenants(site.bootstrap, *customers)
    bodies = [b"alert %d" % number for number in range(500)]
    answers = await asyncio.gather(
        *(post(site.port, customers[number % 2].path, body) for number, body in enumerate(bodies))
    )
    assert {answer.status for answer in answers} == {200}
    told = {UUID(answer.json["signal_id"]): body for answer, body in zip(answers, bodies, strict=True)}
    kept = [record for customer in customers for record in await site.kept(customer)]
    assert len(told) == len(kept) == 500
    assert {metadata_of(record).signal_id: record.value for record in kept} == told


async def test_many_of_the_largest_at_once_are_all_kept(site: Site, customer: Customer) -> None:
    """A topic's limit is on what is written together: no batch may outgrow it."""
    bodies = [b"%d" % number + b"x" * (MAX_BODY_BYTES - 2) for number in range(10, 42)]
    answers = await asyncio.gather(*(post(site.port, customer.path, body) for body in bodies))
    assert [answer.status for answer in answers] == [200] * len(bodies)
    assert sorted(record.value for record in await site.kept(customer)) == bodies


async def test_no_secret_and_no_cache_in_answer_and_record(site: Site, customer: Customer) -> None:
    """The token is neither repeated to the sender nor written to the topic."""
    answers = [await post(site.port, customer.path), await exchange(site.port, request("GET", customer.path))]
    (record,) = await site.kept(customer)
    for text in [repr(record), *map(repr, answers)]:
        assert customer.token not in text
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_health_counts_what_the_capture_queues_hold(site: Site) -> None:
    """`queue_length` is the backlog of all plans at the broker, measured again and again."""
    before = await until_health(site, lambda health: health["status"] == "ok")
    for plan, count in ((Plan.PREMIUM, 2), (Plan.FREE, 1)):
        await produce(site.bootstrap, CAPTURES[plan].name, [b"{}"] * count)
    expected = before["queue_length"] + 3
    health = await until_health(site, lambda health: health["queue_length"] == expected)
    assert (health["active_workers"], type(health["uptime"])) == (0, int)


def chunked(path: str, body: bytes) -> bytes:
    head = request("POST", path, Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
    pieces = [body[start : start + 60_000] for start in range(0, len(body), 60_000)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def until_health(site: Site, condition: Callable[[Any], bool]) -> Any:
    async def ask() -> Any:
        answer = await exchange(site.port, request("GET", "/health"))
        return answer.json if condition(answer.json) else None

    return await eventually(ask)
