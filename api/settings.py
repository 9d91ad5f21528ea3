"""Settings of the API and of the administration commands."""

from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from runtime.settings import (
    EncryptionSettings,
    KafkaSettings,
    LoggingSettings,
    OperationsSettings,
    Port,
    PostgresSettings,
    Section,
    StorageSettings,
)


class ApiSection(Section):
    prefix: ClassVar[str] = "API_"

    host: str = Field("127.0.0.1", description="address of the API port")
    port: Port = Field(8081, description="API port")
    public_origin: str | None = Field(
        None, description="scheme, host and port in links to pictures; unset: the address of the API port"
    )
    link_secret: SecretStr = Field(description="signs links to pictures and cursors", min_length=16)
    link_lifetime_s: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] = Field(
        15 * 60, description="how long a link to a picture works"
    )

    @field_validator("public_origin")
    @classmethod
    def _is_origin(cls, value: str | None) -> str | None:
        return None if value is None else checked_origin(value)

    def origin(self) -> str:
        return self.public_origin or _http_origin(self.host, self.port)


class WebhookAddress(Section):
    """Where the ingress is, for the webhook URLs shown to people."""

    prefix: ClassVar[str] = "INGEST_"

    host: str = Field("127.0.0.1", description="address of the webhook port")
    port: Port = Field(8080, description="webhook port")
    public_origin: str | None = Field(
        None, description="scheme, host and port in webhook URLs; unset: the address of the webhook port"
    )

    @field_validator("public_origin")
    @classmethod
    def _is_origin(cls, value: str | None) -> str | None:
        return None if value is None else checked_origin(value)

    def webhook_url(self, token: SecretStr) -> str:
        origin = self.public_origin or _http_origin(self.host, self.port)
        return f"{origin}/webhook/u/{token.get_secret_value()}"


@dataclass(frozen=True, slots=True)
class ApiSettings:
    api: ApiSection
    kafka: KafkaSettings
    postgres: PostgresSettings
    storage: StorageSettings
    operations: OperationsSettings
    logging: LoggingSettings


@dataclass(frozen=True, slots=True)
class UsersSettings:
    """What `alerts users` needs."""

    postgres: PostgresSettings
    encryption: EncryptionSettings
    webhooks: WebhookAddress


def checked_origin(text: str) -> str:
    """The origin without a slash at its end. Raises `ValueError` for one with a path or without a host."""
    parts = urlsplit(text)
    has_more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or has_more:
        raise ValueError("not an origin such as https://alerts.example")
    return f"{parts.scheme}://{parts.netloc}"


def _http_origin(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
