"""The tenants in memory, from the compacted `tenants` topic. Works while Postgres is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.errors import Failure, TransientError, classify
from runtime.kafka import create_consumer, stop_client, until_started
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.process import ProcessContext, guarded
from runtime.settings import KafkaSettings
from schemas.codec import RecordDecodeError, decode
from schemas.records import Tenant
from schemas.topics import TENANTS

_PARTITION: Final = TopicPartition(TENANTS.name, 0)
_POLL_MS: Final = 500

log = get_logger(__name__)


class TenantDirectory:
    """Tenants by id and by token hash. The highest revision of a tenant wins, in whatever order they come."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, Tenant] = {}
        self._by_hash: dict[str, UUID] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def apply(self, tenant: Tenant) -> None:
        known = self._by_id.get(tenant.user_id)
        if known is not None:
            if known.revision >= tenant.revision:
                return
            for token_hash in known.token_hashes:
                self._by_hash.pop(token_hash, None)
        self._by_id[tenant.user_id] = tenant
        if not tenant.deleted:
            self._by_hash.update(dict.fromkeys(tenant.token_hashes, tenant.user_id))

    def by_token_hash(self, token_hash: str) -> Tenant | None:
        user_id = self._by_hash.get(token_hash)
        return None if user_id is None else self._by_id[user_id]

    def by_id(self, user_id: UUID) -> Tenant | None:
        """Also a deleted tenant."""
        return self._by_id.get(user_id)

    def revisions(self) -> dict[UUID, int]:
        return {user_id: tenant.revision for user_id, tenant in self._by_id.items()}


class DirectoryReader:
    """Follows the topic into a directory and can tell whether the directory is current.

    Starts empty and not current, also when no broker answers yet.
    """

    def __init__(self, directory: TenantDirectory, metrics: Metrics) -> None:
        self._consumer: AIOKafkaConsumer | None = None
        self._metrics = metrics
        self._moved = asyncio.Condition()
        self._applied_to = 0
        self._check: asyncio.Task[int] | None = None
        self.directory = directory

    async def follow(self, settings: KafkaSettings, client_id: str) -> None:
        """Read the topic from its beginning and apply what comes, for ever, broker away or not."""
        consumer = await until_started(lambda: create_consumer(settings, client_id))
        try:
            consumer.assign([_PARTITION])
            await consumer.seek_to_beginning(_PARTITION)
            self._consumer = consumer
            while True:
                batches = await consumer.getmany(_PARTITION, timeout_ms=_POLL_MS)
                await self._apply(batches.get(_PARTITION, ()), await consumer.position(_PARTITION))
        finally:
            self._consumer = None
            await stop_client(consumer.stop())

    async def confirm_current(self, deadline_s: float) -> None:
        """Returns when all that the broker held at the time of the call, or later, has been applied.

        Raises `TransientError` after the deadline: the directory may miss a tenant. Concurrent calls share
        the question to the broker, but never one that was asked before they came.
        """
        try:
            async with asyncio.timeout(deadline_s):
                end_offset = await self._end_offset()
                async with self._moved:
                    await self._moved.wait_for(lambda: self._applied_to >= end_offset)
        except Exception as error:
            if isinstance(error, TimeoutError) or classify(error) is Failure.TRANSIENT:
                raise TransientError("the tenant directory may not be current") from error
            raise

    async def _end_offset(self) -> int:
        running = self._check
        if running is not None and not running.done():
            await asyncio.wait({running})
        if self._check is running or self._check is None:
            self._check = asyncio.create_task(self._ask_end_offset(), name="directory-end-offset")
        return await asyncio.shield(self._check)

    async def _ask_end_offset(self) -> int:
        if self._consumer is None:
            raise TransientError("no broker has answered yet")
        async with asyncio.timeout(5):
            offsets = await self._consumer.end_offsets([_PARTITION])
        end_offset: int = offsets[_PARTITION]
        return end_offset

    async def _apply(self, records: Sequence[Any], position: int) -> None:
        for record in records:
            try:
                self.directory.apply(decode(record.value or b"", Tenant))
            except RecordDecodeError as error:
                # One unreadable record must not hide every other tenant.
                log.error("tenant_unreadable", offset=record.offset, error=str(error))  # noqa: TRY400
        self._metrics.directory_tenants.set(len(self.directory))
        async with self._moved:
            self._applied_to = position
            self._moved.notify_all()


@asynccontextmanager
async def open_directory(
    settings: KafkaSettings, context: ProcessContext, client_id: str
) -> AsyncIterator[DirectoryReader]:
    """A reader that follows the topic until the block is left. Does not wait for a broker."""
    reader = DirectoryReader(TenantDirectory(), context.metrics)
    following = asyncio.create_task(
        guarded(reader.follow(settings, client_id), context), name="directory-follow"
    )
    context.readiness.add("directory", lambda: reader.confirm_current(2.0))
    try:
        yield reader
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
