"""Settings of the processors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import DirectoryPath, Field

from runtime.settings import KafkaSettings, LoggingSettings, OperationsSettings, Section


class ProcessSection(Section):
    prefix: ClassVar[str] = "PROCESS_"

    overflow_rate_per_s: Annotated[float, Field(ge=1)] = Field(
        200, description="overflow or replay records a second of one process, so that main ones do not wait"
    )
    state_directory: Path | None = Field(
        None,
        description="folder that outlives the process, for the known tenants; unset: none",
    )
    indicators_directory: DirectoryPath | None = Field(
        None, description="folder of your own indicator files, beside the shipped ones; unset: none"
    )

    def state_file(self, name: str) -> Path | None:
        return None if self.state_directory is None else self.state_directory / name


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    kafka: KafkaSettings
    operations: OperationsSettings
    logging: LoggingSettings
    process: ProcessSection = field(default_factory=lambda: ProcessSection.model_validate({}))
