"""Settings of the ingress."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from runtime.settings import KafkaSettings, LoggingSettings, OperationsSettings, Port, Seconds, Section


class IngestSection(Section):
    prefix: ClassVar[str] = "INGEST_"

    host: str = Field("127.0.0.1", description="address of the webhook port")
    port: Port = Field(8080, description="webhook port")
    public_origin: str | None = Field(
        None,
        description="origin in webhook URLs that `alerts users` shows; unset: the webhook port",
    )
    ack_deadline_s: Seconds = Field(
        1.5, description="time Kafka gets to ack a webhook before it is answered 503"
    )
    read_deadline_s: Seconds = Field(0.7, description="time a sender gets to send its body")
    max_pending_bytes: int = Field(
        64 * 1024 * 1024, ge=1, description="bodies not yet acked, then 503 at once"
    )


@dataclass(frozen=True, slots=True)
class IngestSettings:
    ingest: IngestSection
    kafka: KafkaSettings
    operations: OperationsSettings
    logging: LoggingSettings
