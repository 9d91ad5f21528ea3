"""Follows the `tenants` topic into a directory, and knows whether that is current."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from runtime.errors import Failure, TransientError, classify
from runtime.follower import PARTITION, Origin, cluster_id_of, end_offset_of, origin_of
from runtime.kafka import create_consumer, stop_client, until_started
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.settings import KafkaSettings
from runtime.snapshot import Place
from runtime.tenants import TenantDirectory
from schemas.codec import RecordDecodeError, decode
from schemas.records import Tenant

RELAY_GRACE_S: Final = 5.0
"""After an outage the relay has so long to publish what was changed meanwhile, before anybody is unknown."""
_PING_INTERVAL_S: Final = 0.5
_PING_DEADLINE_S: Final = 2.0
_OUTAGE_S: Final = 2.0
_POLL_MS: Final = 500

log = get_logger(__name__)


class DirectoryReader:
    """Follows the topic into a directory and can tell whether the directory is current.

    Starts with the snapshot's tenants, or empty, and not current; also when no broker answers yet.
    `log_no` grows when the topic is made anew under it; the directory then still holds what the old one said.
    """

    def __init__(self, directory: TenantDirectory, metrics: Metrics, place: Place | None = None) -> None:
        self._consumer: AIOKafkaConsumer | None = None
        self._metrics = metrics
        self._moved = asyncio.Condition()
        self._applied_to = 0
        self._check: asyncio.Task[int] | None = None
        self._start = place
        self._cluster_id = ""
        self._last: Any = None
        self._whole_at = 0
        self._rebuilt: TenantDirectory | None = None
        self._starts = 0
        self._settled_at_s = 0.0
        self._answered_at_s: float | None = None
        self.log_no = 0
        self.directory = directory
        metrics.directory_tenants.set(len(directory))

    async def follow(self, settings: KafkaSettings, client_id: str) -> None:
        """Read the topic and apply what comes, for ever, broker away or not.

        Begins at the snapshot's place, if this is the log it was taken from, else at the beginning.
        """
        consumer = await until_started(lambda: self._create_consumer(settings, client_id))
        try:
            consumer.assign([PARTITION])
            self._cluster_id = await cluster_id_of(settings)
            await self._take_up(consumer)
            self._consumer = consumer
            while True:
                batches = await consumer.getmany(PARTITION, timeout_ms=_POLL_MS)
                position = await consumer.position(PARTITION)
                if position < self._applied_to:
                    await self._start_over(consumer)
                await self._apply(batches.get(PARTITION, ()), position)
        finally:
            self._consumer = None
            await stop_client(consumer.stop())

    def place(self) -> Place | None:
        """What has been applied, or None while that is not yet the whole topic."""
        if self._last is None or self._applied_to < self._whole_at:
            return None
        return Place(
            cluster_id=self._cluster_id,
            topic=PARTITION.topic,
            partition=PARTITION.partition,
            offset=self._applied_to,
            last_offset=self._last.offset,
            last_timestamp_ms=self._last.timestamp,
        )

    async def watch(self) -> None:
        """Ask, for ever, so that a time without answers is noticed also when nobody else asks."""
        while True:
            with suppress(TransientError):
                await self.confirm_applied(_PING_DEADLINE_S)
            await asyncio.sleep(_PING_INTERVAL_S)

    async def confirm_current(self, deadline_s: float) -> None:
        """Returns when a tenant who is not known does not exist, or only since a moment ago.

        Raises `TransientError` after the deadline and soon after an outage: the relay could not publish
        while the broker was away, so that what it held then is not all there is.
        """
        await self.confirm_applied(deadline_s)
        if asyncio.get_running_loop().time() < self._settled_at_s:
            raise TransientError("the relay may still be at what an outage held up")

    async def confirm_applied(self, deadline_s: float) -> None:
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

    async def close(self) -> None:
        """End the question that may still be open. Nobody must wait for its answer any more."""
        if self._check is not None:
            self._check.cancel()
            await asyncio.gather(self._check, return_exceptions=True)

    def _create_consumer(self, settings: KafkaSettings, client_id: str) -> AIOKafkaConsumer:
        self._starts += 1
        if self._starts > 1:
            self._note_outage()
        return create_consumer(settings, client_id)

    def _note_outage(self) -> None:
        self._settled_at_s = asyncio.get_running_loop().time() + RELAY_GRACE_S

    async def _take_up(self, consumer: AIOKafkaConsumer) -> None:
        """Seek to where following begins.

        A snapshot of another log is forgotten; one of a log that cannot be told counts until all is read.
        """
        place = self._start
        origin = Origin.OTHER if place is None else await origin_of(consumer, self._cluster_id, place)
        log.info("directory_following", origin=origin.value, tenants=len(self.directory))
        self._whole_at = await end_offset_of(consumer)
        if place is not None and origin is Origin.SAME:
            # from the last record that was applied, so that the next snapshot can name it
            consumer.seek(PARTITION, place.last_offset)
            return
        if origin is Origin.UNKNOWN:
            self._rebuilt = TenantDirectory()
        else:
            self.directory.become(TenantDirectory())
        await consumer.seek_to_beginning(PARTITION)

    async def _start_over(self, consumer: AIOKafkaConsumer) -> None:
        """Keeps what is known: the relay will say all of it again, with revisions that are not lower."""
        log.warning("tenants_topic_made_anew")
        self._note_outage()
        self.log_no += 1
        self._rebuilt, self._last, self._applied_to = None, None, 0
        self._whole_at = await end_offset_of(consumer)

    async def _end_offset(self) -> int:
        running = self._check
        if running is not None and not running.done():
            await asyncio.wait({running})
        if self._check is running or self._check is None:
            self._check = asyncio.create_task(self._ask_end_offset(), name="directory-end-offset")
            # all who asked may have given up by the time it fails
            self._check.add_done_callback(lambda check: check.cancelled() or check.exception())
        return await asyncio.shield(self._check)

    async def _ask_end_offset(self) -> int:
        if self._consumer is None:
            raise TransientError("no broker has answered yet")
        applied_to = self._applied_to
        async with asyncio.timeout(5):
            offsets = await self._consumer.end_offsets([PARTITION])
        end_offset: int = offsets[PARTITION]
        if end_offset < applied_to:
            raise TransientError("the topic was made anew")
        self._note_answer()
        return end_offset

    def _note_answer(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._answered_at_s is not None and now_s > self._answered_at_s + _OUTAGE_S:
            self._note_outage()
        self._answered_at_s = now_s

    async def _apply(self, records: Sequence[Any], position: int) -> None:
        directory = self.directory if self._rebuilt is None else self._rebuilt
        for record in records:
            _apply_record(directory, record)
            self._last = record
        if self._rebuilt is not None:
            if position < self._whole_at:
                return
            self.directory.become(self._rebuilt)
            self._rebuilt = None
        self._metrics.directory_tenants.set(len(self.directory))
        async with self._moved:
            self._applied_to = position
            self._moved.notify_all()


def _apply_record(directory: TenantDirectory, record: Any) -> None:
    try:
        directory.apply(decode(record.value or b"", Tenant))
    except RecordDecodeError as error:
        # One unreadable record must not hide every other tenant.
        log.error("tenant_unreadable", offset=record.offset, error=str(error))  # noqa: TRY400
        directory.overwrite(record.key or b"")
