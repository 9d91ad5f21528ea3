"""Tenants and signals for the benches of the store: hundreds of tenants of all plans."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer

from deploy.local.keychain import Keychain
from deploy.local.logins import embedded_logins, ensure_logins
from deploy.local.postgres import PostgresCluster
from runtime.clock import SystemClock, utc_now
from runtime.postgres import Pool, open_pool
from runtime.publisher import KafkaPublisher, Message
from runtime.settings import PostgresSettings
from schemas.codec import encode
from schemas.headers import webhook_headers
from schemas.plans import Plan
from schemas.topics import SIGNALS, TENANTS
from sinks.partitions import Partitions, PartitionWidth
from sinks.store import AcceptedSignal
from tests.bench.alerts import LABELLED
from tests.support.signals import accepted_signal, new_signal
from tests.support.tenants import Customer, insert_tenant, new_customer

BATCH: Final = 500
_FIELDS: Final = {"sesgo": "Largo", "fuerza": "27.4"}
_SEED: Final = 8


def customers_of(count: int) -> list[Customer]:
    plans = list(Plan)
    return [new_customer(plans[number % len(plans)], captures_enabled=False) for number in range(count)]


def signals_of(customers: Sequence[Customer], count: int) -> list[AcceptedSignal]:
    """Alerts as the parser reads a labelled one, of tenants in no order."""
    chosen = random.Random(_SEED).choices(customers, k=count)
    return [_signal(customer) for customer in chosen]


async def insert_customers(url: str, customers: Sequence[Customer], *, captures: bool = False) -> None:
    """Known to the database with quotas that will do, and nothing for the relay to publish."""
    async with pool_of(url, 1) as pool:
        for customer in customers:
            await insert_tenant(pool, customer)
        await pool.execute(
            "UPDATE users SET published_revision = revision, signals_quota = 1000000 * signals_quota"
        )
        await Partitions(pool, PartitionWidth.MONTH).ensure(utc_now(SystemClock()))
        if captures:
            await pool.execute("UPDATE user_config SET captures_consented_at = now()")


async def publish_customers(bootstrap: str, customers: Sequence[Customer]) -> None:
    await _publish(
        bootstrap, [Message(TENANTS.name, customer.key, encode(customer.tenant)) for customer in customers]
    )


async def publish_signals(bootstrap: str, accepted: Sequence[AcceptedSignal]) -> None:
    await _publish(bootstrap, [_message(item) for item in accepted])


@asynccontextmanager
async def pool_of(url: str, connections: int) -> AsyncIterator[Pool]:
    settings = PostgresSettings.model_validate({"url": url, "pool_size": connections})
    async with open_pool(settings, "bench") as pool:
        yield pool


async def sink_login(url: str) -> str:
    """The same database for who has no more than the sink's rights."""
    login = embedded_logins(Keychain())["sink"]
    await ensure_logins(url, [login])
    return login.url(url)


def server_pid(cluster: PostgresCluster) -> int:
    return int(Path(cluster.folder / "data/postmaster.pid").read_text().split()[0])


def _signal(customer: Customer) -> AcceptedSignal:
    signal = new_signal(
        customer,
        message=LABELLED.decode(),
        fields=_FIELDS,
    )
    return accepted_signal(signal, content_type="text/plain; charset=utf-8", user_agent="Go-http-client/1.1")


def _message(item: AcceptedSignal) -> Message:
    key = str(item.signal.user_id).encode()
    return Message(SIGNALS.name, key, item.json, webhook_headers(item.call))


async def _publish(bootstrap: str, messages: Sequence[Message]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=20)
    await producer.start()
    try:
        publisher = KafkaPublisher(producer)
        for first in range(0, len(messages), BATCH):
            await publisher.publish(messages[first : first + BATCH])
    finally:
        await producer.stop()
