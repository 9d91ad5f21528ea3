"""Tenants for tests: made from one call, put where the roles look for them."""

import secrets
from dataclasses import dataclass, field
from uuid import UUID

from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from runtime.clock import SystemClock
from runtime.ids import SignalIds
from runtime.postgres import Pool
from runtime.settings import KafkaSettings
from runtime.tokens import new_token, token_hash
from runtime.topics import create_topics
from schemas.codec import encode
from schemas.plans import PLAN_TERMS, Plan
from schemas.records import Tenant
from schemas.topics import TENANTS

CHART_ID = "Ab3dE9xZ"

_IDS = SignalIds(SystemClock())


def new_user_id() -> UUID:
    return _IDS.mint()


@dataclass(frozen=True, slots=True)
class Customer:
    """A tenant's record and the secret it was made from."""

    tenant: Tenant
    token: str = field(repr=False)

    @property
    def key(self) -> bytes:
        """The key of the tenant's records."""
        return str(self.tenant.user_id).encode()

    @property
    def path(self) -> str:
        return f"/webhook/u/{self.token}"

    def with_changes(self, **changes: object) -> "Customer":
        """The next revision of the same tenant."""
        return Customer(replace(self.tenant, revision=self.tenant.revision + 1, **changes), self.token)


def new_customer(plan: Plan = Plan.PREMIUM, **changes: object) -> Customer:
    """A tenant nobody has seen: captures on, one token, revision 1 unless changed."""
    token = new_token().get_secret_value()
    tenant = Tenant(
        user_id=new_user_id(),
        revision=1,
        plan=plan,
        token_hashes=[token_hash(token)],
        webhook_enabled=True,
        captures_enabled=True,
        default_chart_id=CHART_ID,
    )
    return Customer(replace(tenant, **changes), token)


def kafka_settings(bootstrap: str) -> KafkaSettings:
    """Settings for one local broker."""
    values = {"bootstrap": bootstrap, "topic_profile": "local", "replication": 1}
    return KafkaSettings.model_validate(values)


async def create_local_topics(bootstrap: str) -> None:
    """Every declared topic; those that exist stay as they are."""
    await create_topics(kafka_settings(bootstrap))


async def publish_tenants(bootstrap: str, *customers: Customer) -> None:
    """Put the tenants on the topic, past the relay. Returns when the broker has them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for customer in customers:
            await producer.send_and_wait(TENANTS.name, encode(customer.tenant), key=customer.key)
    finally:
        await producer.stop()


async def insert_tenant(pool: Pool, customer: Customer) -> None:
    """Put the tenant into Postgres, not yet published, with consent when captures are enabled."""
    tenant = customer.tenant
    terms = PLAN_TERMS[tenant.plan]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO users (id, name, webhook_token_hash, webhook_token, plan, signals_quota, quota_mode,"
            " quota_reset_at, webhook_enabled, revision)"
            " VALUES ($1, 'test', $2, $3, $4, $5, $6, now() + interval '1 month', $7, $8)",
            tenant.user_id,
            bytes.fromhex(tenant.token_hashes[0]),
            secrets.token_bytes(16),
            tenant.plan.value,
            terms.signals_per_month,
            terms.quota_mode.value,
            tenant.webhook_enabled,
            tenant.revision,
        )
        await connection.execute(
            "INSERT INTO user_config (user_id, default_chart_id, captures_consented_at, session_version)"
            " VALUES ($1, $2, CASE WHEN $3 THEN now() END, 1)",
            tenant.user_id,
            tenant.default_chart_id,
            tenant.captures_enabled,
        )
