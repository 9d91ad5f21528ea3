"""What a person may choose about the local stack."""

from collections.abc import Mapping
from typing import Final

from pydantic import Field, SecretStr, model_validator

from runtime.settings import Port, Section

ROLES: Final = ("ingest", "process", "sink", "capture", "api")

INSTANCES: Final[Mapping[str, tuple[str, ...]]] = {
    **{role: (role,) for role in ROLES},
    "process-overflow": ("process", "--lane", "overflow"),
}
"""The processes of one run by name, with what follows `alerts` in their commands."""


class LocalSettings(Section):
    """Every port: set and taken is an error; not set, the next free one from the default is used."""

    ingest_host: str = Field("127.0.0.1", description="address of the webhook port")
    ingest_port: Port | None = Field(None, description="webhook port, 8080 or the next free one")
    api_host: str = Field("127.0.0.1", description="address of the API port")
    api_port: Port | None = Field(None, description="API port, 8081 or the next free one")
    api_public_origin: str | None = Field(None, description="origin of links to pictures")
    chart_site_port: Port | None = Field(None, description="chart look-alike, 8090 or the next free one")
    kafka_port: Port | None = Field(None, description="embedded broker, 19092 or the next free one")
    kafka_controller_port: Port | None = Field(None, description="its controller, 19093 or the next free one")
    postgres_port: Port | None = Field(None, description="embedded database, 15432 or the next free one")
    ingest_operations_port: Port | None = Field(None, description="/ready and /metrics, from 9101")
    process_operations_port: Port | None = Field(None, description="/ready and /metrics, from 9102")
    sink_operations_port: Port | None = Field(None, description="/ready and /metrics, from 9103")
    capture_operations_port: Port | None = Field(None, description="/ready and /metrics, from 9104")
    api_operations_port: Port | None = Field(None, description="/ready and /metrics, from 9105")
    process_overflow_operations_port: Port | None = Field(None, description="/ready and /metrics, from 9106")
    # set: the real service is used and the embedded one is not started
    kafka_bootstrap: str | None = Field(None, description="brokers to use instead of the embedded one")
    database_url: SecretStr | None = Field(None, description="database to use instead of the embedded one")
    sink_database_url: SecretStr | None = Field(None, description="the same database for the sink's login")
    capture_database_url: SecretStr | None = Field(None, description="… for the capture role's login")
    api_database_url: SecretStr | None = Field(None, description="… for the API's login")
    chart_origin: str | None = Field(None, description="chart site to use instead of the look-alike")

    @model_validator(mode="after")
    def _one_database(self) -> "LocalSettings":
        logins = (self.sink_database_url, self.capture_database_url, self.api_database_url)
        if self.database_url is None and any(logins):
            raise ValueError("SINK_, CAPTURE_ and API_DATABASE_URL need DATABASE_URL, the database's owner")
        return self
