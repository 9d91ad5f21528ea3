"""No token leaves a real ingress: not in its log, its metrics, its answers, its topics or its files."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from deploy.local.ports import Ports
from ingest.webhook import MAX_BODY_BYTES
from schemas.plans import Plan
from schemas.topics import TENANTS, WEBHOOKS_OVERFLOW, WEBHOOKS_RAW, WEBHOOKS_REFUSED
from tests.support.broker import read_all
from tests.support.http import Answer, exchange, post, request
from tests.support.outage import FrailBroker, frail_broker
from tests.support.role_process import RoleProcess, role_processes
from tests.support.stack import free_port, run_apart
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants
from tests.support.waiting import eventually

TOPICS = (WEBHOOKS_RAW, WEBHOOKS_OVERFLOW, WEBHOOKS_REFUSED, TENANTS)
CEILING_PER_S = 3
CROWD = 200
"""More than the ceiling of a minute, which is more than the burst of the smallest plan."""

Place = tuple[str, bytes]


@dataclass(frozen=True)
class Site:
    """An ingress process with a folder, before a broker that can be frozen."""

    broker: FrailBroker
    ingest: RoleProcess
    port: int
    state: Path
    customer: Customer
    disabled: Customer
    crowd: Customer
    stranger: Customer

    @property
    def tokens(self) -> list[str]:
        return [one.token for one in (self.customer, self.disabled, self.crowd, self.stranger)]

    async def metrics(self) -> bytes:
        url = f"http://127.0.0.1:{self.ingest.operations_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.read()

    async def drained(self) -> bool:
        return b"\nalerts_spool_records 0.0\n" in await self.metrics()

    def files(self) -> list[Place]:
        """Every byte of the folder now."""
        return [(path.name, path.read_bytes()) for path in self.state.rglob("*") if path.is_file()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    customer, disabled = new_customer(), new_customer(webhook_enabled=False)
    crowd, stranger = new_customer(Plan.FREE), new_customer()
    with closing(Ports()) as ports, frail_broker() as broker:
        run_apart(create_local_topics(broker.bootstrap))
        run_apart(publish_tenants(broker.bootstrap, customer, disabled, crowd))
        port = free_port(ports)
        values = {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "KAFKA_TOPIC_PROFILE": "local",
            "KAFKA_REPLICATION": "1",
            "INGEST_PORT": str(port),
            "INGEST_STATE_DIRECTORY": str(tmp_path / "state"),
            "INGEST_ACK_DEADLINE_S": "0.5",
            "INGEST_READ_DEADLINE_S": "0.3",
            "INGEST_CEILING_PER_S": str(CEILING_PER_S),
            "LOG_LEVEL": "debug",
        }
        ingest = RoleProcess("ingest", ("ingest",), values, tmp_path)
        with role_processes(ingest):
            yield Site(broker, ingest, port, tmp_path / "state", customer, disabled, crowd, stranger)


async def test_a_token_is_nowhere_but_in_the_senders_hands(site: Site) -> None:
    """Whatever was asked with it and whatever became of the call, only its hash is kept."""
    seen = [answer async for answer in calls(site)]
    with site.broker.frozen():
        seen += [answer async for answer in calls_of_an_outage(site)]
        seen += [*site.files(), ("metrics", await site.metrics())]
        assert any(b"away 3" in content for _name, content in site.files())
    await eventually(site.drained)
    seen += [*site.files(), ("metrics", await site.metrics())]
    assert site.ingest.terminate() == 0
    seen += [*site.files(), ("log", site.ingest.log().encode())]
    seen += [record async for record in records(site)]
    assert {name for name, _content in seen} >= {"log", "metrics", *(topic.name for topic in TOPICS)}
    assert_clean(site.tokens, seen)


async def calls(site: Site) -> AsyncIterator[Place]:
    """Accepted in both lanes, and refused. The answers."""
    assert (await post(site.port, site.customer.path, b"plain")).status == 200
    answer = await post(site.port, escaped_path(site.customer), b"escaped")
    assert answer.status == 200
    yield shown(answer)
    crowd = await asyncio.gather(*(post(site.port, site.crowd.path, b"%d" % n) for n in range(CROWD)))
    assert {answer.status for answer in crowd} == {200, 429}
    for answer in crowd:
        yield shown(answer)
    answer = await post(site.port, site.disabled.path)
    assert answer.status == 403
    yield shown(answer)
    async for answered in odd_calls(site):
        yield answered


async def calls_of_an_outage(site: Site) -> AsyncIterator[Place]:
    """Spooled, and refused. The answers."""
    for number in range(4):
        answer = await post(site.port, escaped_path(site.customer), b"away %d" % number)
        assert answer.status == 200
        yield shown(answer)
    answer = await post(site.port, site.stranger.path)
    assert answer.status == 503
    yield shown(answer)
    async for answered in odd_calls(site):
        yield answered


async def odd_calls(site: Site) -> AsyncIterator[Place]:
    """What is answered to odd calls with each of the tokens, all at once."""
    tenants = (site.customer, site.disabled, site.stranger)
    sent = [one for customer in tenants for one in odd_requests(customer.path)]
    for answer in await asyncio.gather(*(exchange(site.port, one) for one in sent)):
        assert answer.status != 500
        yield shown(answer)


def shown(answer: Answer) -> Place:
    return "answer", repr(answer).encode()


def odd_requests(path: str) -> list[bytes]:
    """Each shows the token in a place where a careless answer or log would quote it."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    bare = [
        f"POST {path} HTTP/9.9\r\nHost: x\r\n\r\n",
        f"POST {path}\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST {path} {path} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST http://[::1{path} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST http://a.test:99999999{path} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST {path}?{'q' * 20_000} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"{path} POST HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST {path} HTTP/1.1\r\n{path}\r\nHost: x\r\n\r\n",
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {path}\r\n\r\n",
        f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: {path}\r\nContent-Length: 0\r\n\r\n",
        f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{path}\r\n",
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
    ]
    framed = [
        request("POST", path, body),
        request("GET", path),
        request("PUT", path, b"x"),
        request("OPTIONS", path),
        request("POST", f"{path}/more", b"x"),
        request("POST", f"/{path}", b"x"),
        request("POST", f"{path}%00", b"x"),
        request("GET", f"{path}?token={path}"),
    ]
    return [text.encode("latin-1") for text in bare] + framed


def escaped_path(customer: Customer) -> str:
    """The same webhook with every letter of the token escaped."""
    return "/webhook/u/" + escaped(customer.token)


def escaped(token: str) -> str:
    return "".join(f"%{number:02X}" for number in token.encode())


def spellings(token: str) -> set[bytes]:
    """As it is and as an encoding would show it."""
    raw = token.encode()
    texts = [
        token,
        quote(token, safe=""),
        escaped(token),
        escaped(token).lower(),
        raw.hex(),
        raw.hex().upper(),
    ]
    return {text.encode() for text in texts} | {base64.b64encode(raw).rstrip(b"="), raw[:16], raw[16:]}


async def records(site: Site) -> AsyncIterator[Place]:
    for topic in TOPICS:
        for record in await read_all(site.broker.bootstrap, topic.name):
            yield topic.name, b"%r %r %r" % (record.key, record.value, record.headers)


def assert_clean(tokens: list[str], places: list[Place]) -> None:
    for name, content in places:
        for token in tokens:
            for spelling in spellings(token):
                at = content.find(spelling)
                around = content[max(0, at - 200) : at] + b"<token>"
                assert at < 0, f"in {name}: {around!r}"
