"""Faust's Kafka transport, made safe and quick: all that reaches into its private parts is here.

`versions.check_versions` refuses to start when what is overridden or relied on here has changed.
"""

import asyncio
from typing import Any, Final

import faust
from aiokafka import TopicPartition
from faust.sensors.base import SensorDelegate
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import ProducerBuffer

from runtime.clock import SystemClock
from runtime.errors import FatalError
from runtime.logging import get_logger
from runtime.streams.drain import is_delivery, step
from runtime.streams.fetching import shorten_waits
from runtime.streams.moderation import FetchModeration
from runtime.streams.versions import SPEED, changed

ROOM_POLL_S: Final = 1.0
BUSY_FETCH_S: Final = 0.02
"""How long a fetch may wait for idle partitions while the queue of others is full and may empty soon."""

log = get_logger(__name__)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Reads a backlog without standing still."""

    async def on_start(self) -> None:
        await super().on_start()
        if not changed(SPEED):
            shorten_waits(self._consumer._fetcher)  # noqa: SLF001 - aiokafka has no setting that may change


class SafeConsumer(driver.Consumer):  # type: ignore[misc]
    """Never commits past an open record, delivers without detours, and waits for room instead of sleeping.

    Fetches together what comes thick and fast.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._room = asyncio.Event()
        self._quick = _is_known_loop()
        self._moderation = FetchModeration()
        self._clock = SystemClock()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: Any) -> int | None:
        """Capped at the lowest record delivered under the present assignment and not acknowledged.

        The original steps over one open record at the head of a partition, and over any number while nothing
        has been committed (faust-streaming#606). Acknowledging in offset order makes that unreachable; this
        is the second lock on the same door.
        """
        acked = self._acked[tp]
        lowest = self._lowest_unacked(tp)
        if lowest is None or not acked:
            offset: int | None = super()._new_offset(tp)
            return offset
        held_back = [offset for offset in acked if offset >= lowest]
        self._acked[tp] = [offset for offset in acked if offset < lowest]
        try:
            offset = super()._new_offset(tp)
        finally:
            self._acked[tp] = self._acked[tp] + held_back
        return offset

    def _lowest_unacked(self, tp: Any) -> int | None:
        generation = self.app.consumer_generation_id
        return min(
            (
                message.offset
                for message in list(self._unacked_messages)
                if message.tp == tp and not message.acked and message.generation_id == generation
            ),
            default=None,
        )

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Records of a partition were skipped; the original counts them, and the next one, as acknowledged.

        Right when the broker no longer has them. If it has, they were fetched and dropped on the way: raises
        `FatalError`, and the clean start reads them again.
        """
        earliest = (await self.earliest_offsets(tp))[tp]
        if earliest < offset_to:
            log.error(
                "records_skipped",
                topic=tp.topic,
                partition=tp.partition,
                offset_from=offset_from,
                offset_to=offset_to,
            )
            raise FatalError("records were skipped on their way from the broker")
        log.warning("records_expired", topic=tp.topic, partition=tp.partition, earliest_offset=earliest)
        await super()._add_gap(tp, offset_from, offset_to)

    async def perform_seek(self) -> None:
        """Also back to the beginning of what was never committed.

        The original leaves such a partition where its last fetch ended, with what was dropped behind it, and
        a first commit further on then passes over all of it (seen in the campaign: 658 events lost).
        """
        await super().perform_seek()
        unread = [TopicPartition(*tp) for tp in self.assignment() if not self._read_offset[tp]]
        if unread:
            log.info("seeking_to_beginning", partitions=len(unread))
            await self._thread.seek_to_beginning(*unread)

    async def verify_all_partitions_active(self) -> None:
        """Left out: it only logs, our watchdog sees more, and a partition that leaves amid it ends the app.

        It asks aiokafka for the position of each partition by turns; of one that a rebalance has just taken
        away that is an `AssertionError`, which nobody catches.
        """

    async def wait_first(self, *waited_for: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109 - the original signature
        """Deliver at once what need not wait; anything else is the original's."""
        if not self._quick or not is_delivery(waited_for, timeout) or self._is_interrupted():
            return await super().wait_first(*waited_for, timeout=timeout)
        delivery, suspended = waited_for
        try:
            rest = step(delivery)
        except BaseException:
            suspended.close()
            raise
        if rest is not None:
            return await super().wait_first(rest, suspended)
        suspended.close()
        return None

    def _is_interrupted(self) -> bool:
        return bool(self.suspend_flow.is_set() or self._stopped.is_set() or self._crashed.is_set())

    def on_buffer_full(self, tp: Any) -> None:
        """A full queue belongs to a topic: none of its partitions is fetched until there is room.

        Left to itself, each other partition would add a poll's worth of records until it is found full as
        well, and the loop that delivers for all topics would wait for the one queue.
        """
        alike = [other for other in self._get_active_partitions() if self._quick and other.topic == tp.topic]
        for partition in {tp, *alike}:
            super().on_buffer_full(partition)

    def on_buffer_drop(self, tp: Any) -> None:
        alike = [other for other in self._buffered_partitions if self._quick and other.topic == tp.topic]
        for partition in {tp, *alike}:
            super().on_buffer_drop(partition)
        self._room.set()

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - the original signature
        """The original sleeps a whole second when no partition may be fetched."""
        if (
            self._quick
            and self.flow_active
            and not self._get_active_partitions()
            and self._buffered_partitions
        ):
            self._room.clear()
            waiting = asyncio.ensure_future(self._room.wait())
            await self.wait(waiting, timeout=ROOM_POLL_S)
        if (wait_s := self._moderation.wait_s(self._clock.monotonic_s())) > 0:
            await asyncio.sleep(wait_s)
        return await super()._wait_next_records(timeout)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - as above
        busy = BUSY_FETCH_S if self._quick and self._buffered_partitions else timeout
        records = await super()._getmany(active_partitions, busy)
        if records:
            self._moderation.fetched(self._clock.monotonic_s())
        return records


def _is_known_loop() -> bool:
    unknown = changed(SPEED)
    if unknown:
        log.warning("stream_drain_slow", changed=unknown)
    return not unknown


class QuickBuffer(ProducerBuffer):  # type: ignore[misc]
    """Of the one producer there is. The original asks the settings with each record what kind that is."""

    @property
    def size(self) -> int:
        return int(self.pending.qsize())


class IdempotentProducer(driver.Producer):  # type: ignore[misc]
    """Faust's own producer. Ours publish beside it; whoever sends through Faust is safe all the same."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.buffer = QuickBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class SafeTransport(driver.Transport):  # type: ignore[misc]
    """The driver with the parts above."""

    Consumer = SafeConsumer
    Producer = IdempotentProducer


class NoSensors(SensorDelegate):  # type: ignore[misc]
    """Hears of nothing."""

    def on_rebalance_start(self, _app: Any) -> Any:
        """Faust logs a warning, twice a rebalance, when there is nothing to hand back."""
        return {"": None}


class NoTables(TableManager):  # type: ignore[misc]
    """The original waits a second for tables to be registered; ours have none."""

    async def on_start(self) -> None:
        if not _is_known_loop():
            await super().on_start()
        elif not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class SafeApp(faust.App):  # type: ignore[misc]
    """An app on `SafeTransport`, whatever the broker URL's scheme asks for."""

    def _create_directories(self) -> None:
        """Without tables nothing is kept on disk, so no folder is made."""

    def on_init_dependencies(self) -> Any:
        """Without the monitor among the sensors: several calls an event, for figures that nobody reads."""
        services = list(super().on_init_dependencies())
        self.sensors = NoSensors(self)
        return services

    def _new_transport(self) -> SafeTransport:
        return SafeTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> SafeTransport:
        return SafeTransport(self.conf.broker_producer, self)
