"""The work of the processors: a batch of raw webhooks becomes a batch of signals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from processors.indicators import IndicatorBook
from processors.lanes import ROUTES
from processors.parse import parse_webhook
from runtime.clock import Clock, utc_now
from runtime.directory import TenantDirectory
from runtime.errors import InvalidError, TransientError
from runtime.ids import RandomPool
from runtime.metrics import Metrics
from runtime.publisher import Message, Publisher
from runtime.streams.record import StreamRecord
from schemas.codec import encode
from schemas.headers import (
    SIGNAL_TYPE,
    CloudEvent,
    HeaderError,
    WebhookMetadata,
    alert_headers,
    read_webhook_metadata,
    traceparent,
)
from schemas.records import Lane, Signal, Tenant


@dataclass(frozen=True, slots=True)
class ProcessorStage:
    """Parses, enriches and publishes. Raises before anything is published if any record must wait."""

    directory: TenantDirectory
    indicators: IndicatorBook
    publisher: Publisher
    metrics: Metrics
    clock: Clock
    lane: Lane = Lane.MAIN
    _random: RandomPool = field(default_factory=RandomPool)

    async def work(self, records: Sequence[StreamRecord]) -> None:
        outcomes = [self._outcome(record) for record in records]
        messages = [message for _label, message in outcomes if message]
        if messages:
            await self.publisher.publish(messages)
        for label, _message in outcomes:
            self.metrics.signals_parsed.labels(label).inc()

    def _outcome(self, record: StreamRecord) -> tuple[str, Message | None]:
        """What is counted and what is published of a record."""
        metadata = _metadata(record)
        tenant = self._tenant(record, metadata)
        if tenant.deleted:
            return "tenant_deleted", None
        signal = parse_webhook(record.value, metadata, tenant, self.lane, self.indicators)
        return signal.parse_status.value, self._signal_message(signal, metadata, record)

    def _tenant(self, record: StreamRecord, metadata: WebhookMetadata) -> Tenant:
        tenant = self.directory.by_id(_user_id(record))
        if tenant is None or tenant.revision < metadata.tenant_revision:
            # The ingress saw a newer directory than ours; ours is on its way.
            raise TransientError("the directory is behind the record")
        return tenant

    def _signal_message(self, signal: Signal, metadata: WebhookMetadata, record: StreamRecord) -> Message:
        event = CloudEvent(
            id=str(signal.signal_id),
            type=SIGNAL_TYPE,
            source="processors",
            time=utc_now(self.clock),
            traceparent=traceparent(signal.signal_id, self._random.bits(64)),
        )
        headers = alert_headers(event, metadata)
        return Message(ROUTES[self.lane].output.name, record.key, encode(signal), headers)


def _metadata(record: StreamRecord) -> WebhookMetadata:
    try:
        return read_webhook_metadata(record.headers)
    except HeaderError as error:
        raise InvalidError("bad_headers", str(error)) from error


def _user_id(record: StreamRecord) -> UUID:
    try:
        return UUID((record.key or b"").decode("ascii"))
    except ValueError as error:
        raise InvalidError("bad_key") from error
