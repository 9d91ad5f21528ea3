"""Publishes tenant changes from Postgres, the system of record, to the compacted `tenants` topic."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from runtime.clock import Clock, utc_now
from runtime.directory import DirectoryReader
from runtime.errors import Failure, classify, reason_of
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.postgres import Pool
from runtime.publisher import Message, Publisher
from runtime.sql import load_queries
from schemas.codec import encode
from schemas.headers import TENANT_TYPE, CloudEvent, event_headers, traceparent
from schemas.plans import Plan
from schemas.records import Tenant
from schemas.topics import TENANTS

INTERVAL_S: Final = 0.3
BATCH: Final = 500
LOCK_KEY: Final = 7_281_445_020
"""Advisory lock: of all sinks one relays at a time, so that an older revision cannot overtake a newer one."""

_QUERIES: Final = load_queries("sinks", "queries.sql")

log = get_logger(__name__)


class TenantRelay:
    """Polls for users whose revision is newer than the published one.

    Publishes before it marks, under one lock: a crash in between publishes again, and readers keep the
    highest revision.
    """

    def __init__(self, pool: Pool, publisher: Publisher, clock: Clock, metrics: Metrics) -> None:
        self._pool = pool
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics

    async def run(self, reader: DirectoryReader) -> None:
        """For ever, whatever is away. First publishes again what the topic does not hold."""
        checked = False
        while True:
            try:
                if not checked:
                    await self.republish_missing(reader)
                    checked = True
                while await self.relay() == BATCH:
                    pass
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    raise
                log.warning("relay_waiting", reason=reason_of(error))
            await self._clock.sleep(INTERVAL_S)

    async def relay(self) -> int:
        """Publish one batch; returns how many tenants. 0 also when another process relays."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_QUERIES["try_relay_lock"], LOCK_KEY):
                return 0
            await connection.execute(_QUERIES["retire_previous_tokens"])
            rows = await connection.fetch(_QUERIES["unpublished_tenants"], BATCH)
            if not rows:
                return 0
            await self._publisher.publish([self._message(tenant_of(row)) for row in rows])
            ids, revisions = [row["id"] for row in rows], [row["revision"] for row in rows]
            await connection.execute(_QUERIES["mark_tenants_published"], ids, revisions)
        self._metrics.tenants_relayed.inc(len(rows))
        log.info("tenants_published", tenants=len(rows))
        return len(rows)

    async def republish_missing(self, reader: DirectoryReader) -> None:
        """A topic that lost tenants, or a new cluster, gets them again."""
        await reader.confirm_current(10.0)
        rows = await self._pool.fetch(_QUERIES["published_revisions"])
        lost = missing_tenants(rows, reader.directory.revisions())
        if lost:
            await self._pool.execute(_QUERIES["forget_published"], lost)
            log.warning("tenants_missing_on_topic", tenants=len(lost))

    def _message(self, tenant: Tenant) -> Message:
        event = CloudEvent(
            id=f"{tenant.user_id}/{tenant.revision}",
            type=TENANT_TYPE,
            source="sink",
            time=utc_now(self._clock),
            traceparent=traceparent(tenant.user_id, tenant.revision),
        )
        return Message(TENANTS.name, str(tenant.user_id).encode(), encode(tenant), event_headers(event))


def tenant_of(row: Any) -> Tenant:
    """The public record of a user: hashes, limits and defaults."""
    hashes = [row["token_hash"], row["previous_token_hash"]]
    return Tenant(
        user_id=row["id"],
        revision=row["revision"],
        plan=Plan(row["plan"]),
        token_hashes=[token_hash for token_hash in hashes if token_hash],
        webhook_enabled=row["webhook_enabled"],
        captures_enabled=row["captures_enabled"],
        default_chart_id=row["default_chart_id"],
        deleted=row["deleted"],
    )


def missing_tenants(rows: Sequence[Any], on_topic: Mapping[UUID, int]) -> list[UUID]:
    """Users of whom the topic holds less than was marked as published."""
    return [row["id"] for row in rows if on_topic.get(row["id"], 0) < row["published_revision"]]
