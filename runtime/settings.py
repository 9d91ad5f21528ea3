"""Settings: read once from the environment, typed, frozen, passed down. Nothing below reads the environment.

A section owns the variables that start with its prefix. A role declares a frozen dataclass of the sections
it needs and `load_settings` fills it, or reports every problem of every section together.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_type_hints
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from runtime.errors import FatalError

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsError(FatalError):
    """The environment does not make valid settings. `problems` has a line for each variable at fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Section(BaseModel):
    """A group of variables. Field `port` of a section with prefix `API_` is read from `API_PORT`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    prefix: ClassVar[str] = ""

    @classmethod
    def variable(cls, field: str) -> str:
        return f"{cls.prefix}{field}".upper()


class KafkaSettings(Section):
    prefix: ClassVar[str] = "KAFKA_"

    bootstrap: str = Field(description="brokers, host:port separated by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to talk to the brokers"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="used with SASL_*"
    )
    sasl_username: str | None = Field(None, description="used with SASL_*")
    sasl_password: SecretStr | None = Field(None, description="used with SASL_*")
    ssl_cafile: Path | None = Field(None, description="certificate authorities; unset: the system's")
    ssl_certfile: Path | None = Field(None, description="client certificate")
    ssl_keyfile: Path | None = Field(None, description="key of the client certificate")
    group_instance_id: str | None = Field(
        None, description="name of this process in its consumer group: a restart then moves no partitions"
    )
    topic_profile: Literal["production", "local"] = Field(
        "production", description="which partition counts `alerts topics create` uses"
    )
    replication: Annotated[int, Field(ge=1)] = Field(3, description="replicas of each created topic")

    @model_validator(mode="after")
    def _complete(self) -> "KafkaSettings":
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError("SASL needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE go together")
        return self


class PostgresSettings(Section):
    prefix: ClassVar[str] = "DATABASE_"

    url: SecretStr = Field(description="postgresql://user:password@host:port/name, `?sslmode=` included")
    pool_size: Annotated[int, Field(ge=1, le=100)] = Field(8, description="connections of one process")
    command_timeout_s: Seconds = Field(15, description="limit of one statement")


class OperationsSettings(Section):
    prefix: ClassVar[str] = "OPERATIONS_"

    host: str = Field("127.0.0.1", description="address of the operations port")
    port: Port = Field(0, description="/health /ready /metrics of this process; 0: any free one")
    drain_deadline_s: Seconds = Field(8, description="time to finish work after SIGTERM")
    listen_fd: int | None = Field(None, ge=0, description="inherited listening socket, instead of a port")


class LoggingSettings(Section):
    prefix: ClassVar[str] = "LOG_"

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    format: Literal["auto", "json", "pretty"] = Field("auto", description="auto: pretty on a terminal")


class EncryptionSettings(Section):
    prefix: ClassVar[str] = "ENCRYPTION_"

    keys: SecretStr = Field(
        description="id:base64 of 32 bytes, separated by commas; the first encrypts, all decrypt"
    )


class StorageSettings(Section):
    """Pictures are kept in the bucket when one is named, else in the directory."""

    prefix: ClassVar[str] = "STORAGE_"

    s3_bucket: str | None = Field(
        default=None,
        description="bucket of the pictures, on S3 or what speaks like it; unset: STORAGE_DIRECTORY",
    )
    s3_endpoint: str | None = Field(
        default=None,
        description="where the bucket is, such as https://account.r2.cloudflarestorage.com; unset: AWS",
    )
    s3_region: str = Field(default="auto", description="region of the bucket; `auto` is for R2 and its like")
    s3_access_key_id: str | None = Field(
        default=None, description="key of an account that reads, writes, deletes"
    )
    s3_secret_access_key: SecretStr | None = Field(default=None, description="its secret")
    s3_prefix: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$",
        description="folder in the bucket; unset: none",
    )
    s3_links: Literal["redirect", "stream"] = Field(
        default="redirect",
        description="whether readers of a picture are sent to the bucket, or the API reads it for them",
    )
    directory: Path | None = Field(
        default=None,
        validate_default=True,
        description="folder of the pictures; required unless S3_BUCKET is set",
    )

    @classmethod
    def variable(cls, field: str) -> str:
        return field.upper() if field.startswith("s3_") else super().variable(field)

    @field_validator("s3_endpoint")
    @classmethod
    def _is_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
        if parts.scheme not in ("http", "https") or not parts.hostname or more:
            raise ValueError("not an origin such as https://s3.example; the bucket has its own variable")
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("directory")
    @classmethod
    def _somewhere(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None and info.data.get("s3_bucket") is None:
            raise ValueError("neither this nor S3_BUCKET is set")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.s3_bucket and not (self.s3_access_key_id and self.s3_secret_access_key):
            raise ValueError("S3_BUCKET needs S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY")
        if self.s3_bucket and self.s3_endpoint is None and self.s3_region == "auto":
            raise ValueError("S3_BUCKET on AWS needs S3_REGION; elsewhere S3_ENDPOINT")
        return self


class StorageWriterSettings(StorageSettings):
    """For the role that names pictures; readers get the names from the store."""

    key_secret: SecretStr = Field(description="secret that makes picture names unguessable", min_length=16)


SettingsT = TypeVar("SettingsT")
SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the configuration table."""

    name: str
    value: str
    description: str


def load_settings(kind: type[SettingsT], environ: Mapping[str, str]) -> SettingsT:
    """Build a dataclass of sections. Raises `SettingsError` with all problems."""
    sections: dict[str, Section] = {}
    problems: list[str] = []
    for name, section in sections_of(kind):
        try:
            sections[name] = load_section(section, environ)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    return kind(**sections)


def load_section(kind: type[SectionT], environ: Mapping[str, str]) -> SectionT:
    """One section alone, for commands that need no more. Raises `SettingsError`."""
    try:
        return kind.model_validate(_values(kind, environ))
    except ValidationError as error:
        raise SettingsError([_problem(kind, item) for item in error.errors(include_input=False)]) from error


def sections_of(kind: type[Any]) -> Iterator[tuple[str, type[Section]]]:
    """The sections a settings dataclass is made of, by field name."""
    hints = get_type_hints(kind)
    return ((field.name, hints[field.name]) for field in dataclasses.fields(kind))


def variables_of(settings: Any) -> list[Variable]:
    """Effective values for people: secrets show as stars."""
    return [
        Variable(section.variable(name), str(getattr(section, name)), field.description or "")
        for item in dataclasses.fields(settings)
        for section in [getattr(settings, item.name)]
        for name, field in type(section).model_fields.items()
    ]


def _values(section: type[Section], environ: Mapping[str, str]) -> dict[str, str]:
    # An empty variable counts as unset: that is how env files and compose files switch one off.
    names = {field: section.variable(field) for field in section.model_fields}
    return {field: environ[name] for field, name in names.items() if environ.get(name)}


def _problem(section: type[Section], item: Any) -> str:
    variable = section.variable(str(item["loc"][0])) if item["loc"] else f"{section.prefix}*"
    message = "is not set" if item["type"] == "missing" else item["msg"]
    return f"{variable}: {message}"
