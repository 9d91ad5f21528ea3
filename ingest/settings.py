"""Settings of the ingress."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from ingest.certificate import TRADINGVIEW_SUBJECT, check_subject
from runtime.addresses import parse_list
from runtime.errors import InvalidError
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
        1.5, description="time Kafka gets to ack a webhook before it goes to the spool"
    )
    read_deadline_s: Seconds = Field(0.7, description="time a sender gets to send its body")
    max_pending_bytes: int = Field(
        64 * 1024 * 1024, ge=1, description="bodies not yet acked by Kafka, then the spool"
    )
    state_directory: Path | None = Field(
        None,
        description="folder that outlives the process, for the spool and the known tenants; unset: neither",
    )
    spool_max_bytes: int = Field(1024 * 1024 * 1024, ge=1, description="a fuller spool refuses: 503")
    spool_max_age_s: Seconds = Field(24 * 3600, description="with an older record the spool refuses: 503")
    spool_drain_per_s: Annotated[float, Field(gt=0)] = Field(
        500, description="records a second that go from the spool to Kafka"
    )
    trusted_proxies: str = Field(
        "", description="proxies whose X-Forwarded-For is believed: addresses and networks, comma separated"
    )
    allowed_addresses: str = Field(
        "", description="who may send: addresses, networks, `tradingview`; comma separated; unset: anybody"
    )
    certificate_required: bool = Field(
        False, description="only calls for which a trusted proxy has seen the sender's client certificate"
    )
    certificate_verify_header: str = Field("X-SSL-Client-Verify", description="where the proxy says SUCCESS")
    certificate_subject_header: str = Field(
        "X-SSL-Client-S-DN", description="where the proxy names the certificate's subject"
    )
    certificate_subject: str = Field(
        TRADINGVIEW_SUBJECT, description="attributes the certificate's subject must have, in RFC 4514"
    )
    ceiling_per_s: int = Field(
        1000, ge=1, description="calls a second of one tenant over a minute; above: 429"
    )
    processes: int = Field(1, ge=1, description="ingress processes of all hosts, which share the limits")
    listen_fd: int | None = Field(None, ge=0, description="inherited listening socket, instead of a port")

    @field_validator("certificate_subject")
    @classmethod
    def _subject(cls, value: str) -> str:
        try:
            check_subject(value)
        except InvalidError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("trusted_proxies", "allowed_addresses")
    @classmethod
    def _addresses(cls, value: str) -> str:
        try:
            parse_list(_entries(value))
        except InvalidError as error:
            raise ValueError(str(error)) from error
        return value

    def entries(self, field: str) -> list[str]:
        """The parts of a comma separated list."""
        return _entries(getattr(self, field))

    def state_file(self, name: str) -> Path | None:
        return None if self.state_directory is None else self.state_directory / name


def _entries(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]


@dataclass(frozen=True, slots=True)
class IngestSettings:
    ingest: IngestSection
    kafka: KafkaSettings
    operations: OperationsSettings
    logging: LoggingSettings
