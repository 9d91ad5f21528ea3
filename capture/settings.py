"""What the capture role reads from the environment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from capture.chart import Origin
from runtime.errors import InvalidError
from runtime.settings import (
    EncryptionSettings,
    KafkaSettings,
    LoggingSettings,
    OperationsSettings,
    PostgresSettings,
    Seconds,
    Section,
    StorageWriterSettings,
)

Count = Annotated[int, Field(ge=1)]


class CaptureSection(Section):
    prefix: ClassVar[str] = "CAPTURE_"

    browser: Path = Field(
        Path("/usr/lib/chromium/chromium-headless-shell"),
        description="executable of chromium-headless-shell: the ELF file, not the script on PATH",
    )
    browser_user: str = Field("nobody", description="whom the browser runs as when this process is root")
    slots: Annotated[int, Field(ge=1, le=32)] = Field(3, description="captures at once")
    queue_capacity: Count = Field(20_000, description="requests held in memory")
    tries: Annotated[int, Field(ge=1, le=10)] = Field(3, description="tries of a picture")
    try_deadline_s: Seconds = Field(30, description="limit of one try")
    account_spacing_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        5, description="least time between two pages of a TradingView account; 0: none"
    )
    account_hourly: Annotated[int, Field(ge=0, le=1000)] = Field(
        60, description="most pages of a TradingView account in any hour; 0: no limit"
    )
    session_check_hours: Annotated[float, Field(ge=0, le=720)] = Field(
        24,
        description="hours without a picture after which a session is checked, and between checks; 0: never",
    )
    recycle_captures: Count = Field(500, description="pictures after which a fresh browser takes over")
    recycle_s: Seconds = Field(30 * 60, description="age at which a fresh browser takes over")
    recycle_memory_mb: Annotated[int, Field(ge=256)] | None = Field(
        None,
        description="MiB that a browser's processes hold at which a fresh browser takes over; unset: half as "
        "much again as CAPTURE_WARM_MEMORY_MB, at least 1536",
    )
    warm_contexts: Count = Field(60, description="users whose cache and cookies a browser keeps")
    warm_pages: Annotated[int, Field(ge=0)] = Field(
        60, description="of these, who keep an empty page too: quicker, for 35 to 250 MB each"
    )
    warm_memory_mb: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="MiB that a browser may hold for more of them to keep one; unset: a quarter of the "
        "machine's or container's memory, at most 3072",
    )
    warm_s: Seconds = Field(15 * 60, description="how long it keeps them")
    site_file: Path | None = Field(None, description="signals of the chart page; unset: the file shipped")


class ChartSection(Section):
    prefix: ClassVar[str] = "CHART_"

    origin: str = Field(
        "https://www.tradingview.com",
        description="scheme, host and port of the chart site; https, or loopback",
    )

    @field_validator("origin")
    @classmethod
    def _well_formed(cls, text: str) -> str:
        try:
            return str(Origin.parse(text))
        except InvalidError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    capture: CaptureSection
    chart: ChartSection
    kafka: KafkaSettings
    postgres: PostgresSettings
    storage: StorageWriterSettings
    encryption: EncryptionSettings
    operations: OperationsSettings
    logging: LoggingSettings
