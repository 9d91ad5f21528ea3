"""Settings of the processors."""

from dataclasses import dataclass

from runtime.settings import KafkaSettings, LoggingSettings, OperationsSettings


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    kafka: KafkaSettings
    operations: OperationsSettings
    logging: LoggingSettings
