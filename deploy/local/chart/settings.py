"""What the look-alike reads from the environment."""

import ipaddress
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, field_validator

from runtime.settings import Port, Section


class ChartSiteSettings(Section):
    prefix: ClassVar[str] = "CHART_SITE_"

    host: str = Field(default="127.0.0.1", description="loopback address of the chart look-alike")
    port: Port = Field(default=8090, description="its port; 0: any free one")
    secret: SecretStr = Field(description="secret that signs its session cookies", min_length=16)
    library: Path = Field(description="folder that holds lightweight-charts.js")
    loading_ms: Annotated[int, Field(ge=0)] = Field(default=30, description="time until a page gets its data")
    tick_ms: Annotated[int, Field(ge=20)] = Field(default=250, description="time between two price updates")

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError("the chart look-alike serves loopback only")
        return host
