"""Settings of the sink."""

from dataclasses import dataclass

from runtime.settings import KafkaSettings, LoggingSettings, OperationsSettings, PostgresSettings


@dataclass(frozen=True, slots=True)
class SinkSettings:
    kafka: KafkaSettings
    postgres: PostgresSettings
    operations: OperationsSettings
    logging: LoggingSettings
