"""The work of the sink: signals become rows, capture events become their outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from runtime.clock import Clock, utc_now
from runtime.errors import InvalidError
from runtime.ids import RandomPool, received_at_of
from runtime.logging import get_logger
from runtime.metrics import Metrics
from runtime.publisher import Publisher
from runtime.streams.record import StreamRecord
from schemas.codec import RecordDecodeError, decode
from schemas.headers import HeaderError, read_webhook_metadata
from schemas.records import CaptureEvent, Disposition, Lane, Record, Signal
from sinks.capture_store import CaptureStore
from sinks.messages import RowMessages, wants_capture
from sinks.store import AcceptedSignal, SignalStore, StoredBatch

SIGNALS_STAGE: Final = "sink"
REPLAY_STAGE: Final = "sink-replay"
EVENTS_STAGE: Final = "sink-events"

RecordT = TypeVar("RecordT", bound=Record)

log = get_logger(__name__)


class SignalStage:
    """Stores signals, then asks for their captures and announces them.

    The order makes a crash at any point repeat and never skip: the records are acknowledged last, and a
    record that comes again asks again for every row that is still pending.
    """

    def __init__(self, store: SignalStore, publisher: Publisher, metrics: Metrics, clock: Clock) -> None:
        self.store = store
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._messages = RowMessages(RandomPool().bits)

    async def work(self, records: Sequence[StreamRecord]) -> None:
        await self._store([read_accepted(record) for record in records])

    async def replay(self, records: Sequence[StreamRecord]) -> None:
        """As `work`; of rows already there the parsed columns follow a higher revision of the parser."""
        accepted = [read_accepted(record) for record in records]
        # whoever follows the store has seen what is there already
        await self._store(accepted, announced=Lane.REPLAY)
        self._metrics.signals_stored.labels("reparsed").inc(await self.store.reparse(accepted))

    async def _store(self, accepted: Sequence[AcceptedSignal], announced: Lane | None = None) -> None:
        """Announces rows of one lane, or of all."""
        batch = await self.store.insert(accepted, utc_now(self._clock))
        now = utc_now(self._clock)
        self._count(batch, len(accepted))
        pending = [row for row in batch.rows if wants_capture(row)]
        await self._publisher.publish(
            [
                *(self._messages.capture_request(row, now) for row in pending),
                *(
                    self._messages.announcement(row, now)
                    for row in batch.rows
                    if announced is None or row["lane"] == announced
                ),
            ]
        )
        await self.store.mark_captures_requested([row["id"] for row in pending])

    def _count(self, batch: StoredBatch, signals: int) -> None:
        stored = self._metrics.signals_stored
        stored.labels("inserted").inc(batch.count(Disposition.STORED))
        stored.labels("parked").inc(batch.count(Disposition.PARKED))
        stored.labels("expired").inc(batch.expired)
        stored.labels("repeated").inc(signals - batch.inserted - batch.expired)
        if batch.over_quota:
            self._metrics.signals_over_quota.inc(batch.over_quota)
            log.warning("quota_exceeded", signals=batch.over_quota)


@dataclass(frozen=True, slots=True)
class CaptureEventStage:
    """Applies what the capture workers report."""

    store: CaptureStore

    async def work(self, records: Sequence[StreamRecord]) -> None:
        await self.store.apply([_decoded(record, CaptureEvent) for record in records])


def read_accepted(record: StreamRecord) -> AcceptedSignal:
    """Raises `InvalidError`. The id must be of the time it claims: it chooses the row's partition."""
    signal = _decoded(record, Signal)
    try:
        call = read_webhook_metadata(record.headers)
    except HeaderError as error:
        raise InvalidError("bad_headers", str(error)) from error
    if signal.received_at != received_at_of(signal.signal_id):
        raise InvalidError("bad_id", "not of the moment of received_at")
    if call.signal_id != signal.signal_id:
        raise InvalidError("bad_headers", "of another signal")
    return AcceptedSignal(signal, record.value, call)


def _decoded(record: StreamRecord, kind: type[RecordT]) -> RecordT:
    try:
        return decode(record.value, kind)
    except RecordDecodeError as error:
        raise InvalidError("bad_record", str(error)) from error
