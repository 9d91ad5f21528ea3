"""Settings of the sink."""

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field, SecretStr

from runtime.settings import (
    KafkaSettings,
    LoggingSettings,
    OperationsSettings,
    PostgresSettings,
    Section,
)
from sinks.partitions import PartitionWidth


class HousekeepingSettings(Section):
    prefix: ClassVar[str] = "SINK_"

    partition_width: PartitionWidth = Field(
        PartitionWidth.MONTH, description="month, week or day: of partitions made from now on"
    )
    owner_url: SecretStr | None = Field(
        None, description="the database as the owner of its tables, for retention; unset: DATABASE_URL"
    )

    def postgres(self, sink: PostgresSettings) -> PostgresSettings:
        """For a pool of its own: long work must not take connections from the sink."""
        return sink.model_copy(update={"url": self.owner_url or sink.url, "pool_size": 2})


@dataclass(frozen=True, slots=True)
class SinkSettings:
    kafka: KafkaSettings
    postgres: PostgresSettings
    operations: OperationsSettings
    logging: LoggingSettings
    housekeeping: HousekeepingSettings = field(
        default_factory=lambda: HousekeepingSettings.model_validate({})
    )


@dataclass(frozen=True, slots=True)
class PartitionsSettings:
    """Of `alerts partitions`."""

    postgres: PostgresSettings
    housekeeping: HousekeepingSettings
