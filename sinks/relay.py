"""Publishes tenant changes from Postgres, the system of record, to the compacted `tenants` topic.

No lock and no deadline of ours can take back a record that was handed to a producer: after a time-out or a
lost session it may land behind a newer one, and compaction would keep it. So every relay reads back what
lands, and publishes the newest revision again of each tenant whose last record is anything else.
"""

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

_QUERIES: Final = load_queries("sinks", "relay.sql")

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
        """For ever, whatever is away. First publishes again what the topic does not hold.

        The reader must have read the topic from its beginning, without a snapshot.
        """
        checked = -1
        while True:
            try:
                if checked != reader.log_no:
                    checked = await self.republish_missing(reader)
                await self.republish_overwritten(reader)
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

    async def republish_missing(self, reader: DirectoryReader) -> int:
        """A topic that lost tenants, or a new cluster, gets them again. Returns the number of the log."""
        await reader.confirm_applied(10.0)
        log_no = reader.log_no
        rows = await self._pool.fetch(_QUERIES["published_revisions"])
        # of a log that was made anew the directory does not tell what is on it
        on_topic = reader.directory.revisions() if log_no == 0 else {}
        lost = missing_tenants(rows, on_topic)
        if lost:
            log.warning("tenants_missing_on_topic", tenants=len(lost))
            await self._publish_again({user_id: on_topic.get(user_id, 0) for user_id in lost})
        return log_no

    async def republish_overwritten(self, reader: DirectoryReader) -> None:
        """A late reader must not know less than ours: each tenant's last record must be its newest."""
        if not reader.directory.overwritten():
            return
        # what was published again in the last round may not have been read back yet
        await reader.confirm_applied(10.0)
        overwritten = reader.directory.overwritten()
        if overwritten:
            log.warning("tenants_overwritten_on_topic", tenants=len(overwritten))
            await self._publish_again(overwritten)

    async def _publish_again(self, on_topic: Mapping[UUID, int]) -> None:
        """Not of a user of whom the topic knows a newer revision than the database: it would not win."""
        await self._pool.execute(_QUERIES["forget_published"], list(on_topic), list(on_topic.values()))

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
    """The public record of a user: hashes, limits, defaults and who may send."""
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
        allowed_addresses=row["allowed_addresses"],
    )


def missing_tenants(rows: Sequence[Any], on_topic: Mapping[UUID, int]) -> list[UUID]:
    """Users of whom the topic holds less than was marked as published."""
    return [row["id"] for row in rows if on_topic.get(row["id"], 0) < row["published_revision"]]
