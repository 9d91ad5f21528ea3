"""The ingress's memory does not grow with the calls it has answered, whoever sent them."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from deploy.local.ports import Ports
from runtime.tokens import TOKEN_BYTES
from tests.support.http import post
from tests.support.outage import FrailBroker, frail_broker
from tests.support.role_process import RoleProcess, role_processes
from tests.support.sender import send_all
from tests.support.stack import free_port, run_apart
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants
from tests.support.waiting import eventually

SOAK = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
REQUESTS = 500_000 if SOAK else 30_000
WARM_UP = 50_000 if SOAK else 10_000
GROWTH_BYTES = (16 if SOAK else 6) * 1024 * 1024
"""Room for what is bounded and not yet full after the warm-up. In a soak 40 bytes a call are more."""

CONNECTIONS = 512
CUSTOMERS = 200
KNOWN_SHARE = 0.1
OUTAGE_CALLS = 100
ACK_DEADLINE_S = 1.0


@dataclass(frozen=True)
class Site:
    """An ingress process without a spool: what an outage leaves is in its memory alone."""

    broker: FrailBroker
    ingest: RoleProcess
    port: int
    customers: list[Customer]

    def resident_bytes(self) -> int:
        assert self.ingest.process is not None
        status = Path(f"/proc/{self.ingest.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024


@dataclass(frozen=True)
class Calls:
    """Calls no two of which are alike, the same ones in every run."""

    customers: list[Customer]
    chance: random.Random

    def mixed(self, count: int) -> Iterator[bytes]:
        """A few of tenants, the others with made-up tokens."""
        for number in range(count):
            known = self.chance.random() < KNOWN_SHARE
            yield self._call(self._known() if known else self._made_up(), number)

    def known(self, count: int) -> Iterator[bytes]:
        return (self._call(self._known(), number) for number in range(count))

    def _known(self) -> str:
        return self.chance.choice(self.customers).token

    def _made_up(self) -> str:
        return self.chance.randbytes(TOKEN_BYTES).hex()

    def _call(self, token: str, number: int) -> bytes:
        address = IPv4Address(self.chance.getrandbits(32))
        body = b"BINANCE:%xUSDT %d LONG" % (self.chance.getrandbits(64), number)
        head = f"POST /webhook/u/{token}?n={number} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    customers = [new_customer() for _ in range(CUSTOMERS)]
    with closing(Ports()) as ports, frail_broker() as broker:
        run_apart(create_local_topics(broker.bootstrap))
        run_apart(publish_tenants(broker.bootstrap, *customers))
        port = free_port(ports)
        values = {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "KAFKA_TOPIC_PROFILE": "local",
            "KAFKA_REPLICATION": "1",
            "INGEST_PORT": str(port),
            "INGEST_TRUSTED_PROXIES": "127.0.0.1",
            "INGEST_ACK_DEADLINE_S": str(ACK_DEADLINE_S),
        }
        ingest = RoleProcess("ingest", ("ingest",), values, tmp_path)
        with role_processes(ingest):
            yield Site(broker, ingest, port, customers)


@pytest.mark.timeout(1800)
def test_memory_stays_flat_over_calls_with_random_tokens(site: Site) -> None:
    """Unknown tokens from addresses anywhere, alerts of tenants, some of unknown fate: nothing adds up."""
    calls = Calls(site.customers, random.Random(6))
    answered = send(site, calls.mixed(WARM_UP))
    answered += outage(site, calls)
    before_bytes = site.resident_bytes()
    answered += send(site, calls.mixed(REQUESTS - WARM_UP))
    answered += outage(site, calls)
    after_bytes = site.resident_bytes()
    assert answered.total() == REQUESTS + 2 * OUTAGE_CALLS
    assert set(answered) == {200, 404, 503}
    assert answered[503] >= 2 * OUTAGE_CALLS
    assert answered[404] > REQUESTS / 2
    assert answered[200] > REQUESTS * KNOWN_SHARE / 2
    assert after_bytes - before_bytes < GROWTH_BYTES, f"{before_bytes:,} became {after_bytes:,}"


def send(site: Site, requests: Iterator[bytes]) -> Counter[int]:
    return asyncio.run(send_all(site.port, requests, CONNECTIONS))


def outage(site: Site, calls: Calls) -> Counter[int]:
    """Calls whose fate nobody knows, each remembered for its resend."""
    with site.broker.frozen():
        answered = send(site, calls.known(OUTAGE_CALLS))
    run_apart(eventually(lambda: directory_current(site)))
    return answered


async def directory_current(site: Site) -> bool:
    """Not at once after an outage."""
    return (await post(site.port, new_customer().path)).status == HTTPStatus.NOT_FOUND
