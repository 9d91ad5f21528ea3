from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from runtime.settings import (
    EncryptionSettings,
    KafkaSettings,
    LoggingSettings,
    OperationsSettings,
    PostgresSettings,
    SettingsError,
    StorageSettings,
    StorageWriterSettings,
    load_section,
    load_settings,
    variables_of,
)

SECRET = "never-to-be-shown"


@dataclass(frozen=True, slots=True)
class Everything:
    kafka: KafkaSettings
    postgres: PostgresSettings
    operations: OperationsSettings
    logging: LoggingSettings
    encryption: EncryptionSettings
    storage: StorageWriterSettings


COMPLETE: Mapping[str, str] = {
    "KAFKA_BOOTSTRAP": "one:9092,two:9092",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_USERNAME": "alerts",
    "KAFKA_SASL_PASSWORD": SECRET + "-kafka",
    "DATABASE_URL": f"postgresql://alerts:{SECRET}-database@db/alerts",
    "ENCRYPTION_KEYS": f"k1:{SECRET}-key",
    "STORAGE_DIRECTORY": "/srv/pictures",
    "STORAGE_KEY_SECRET": SECRET + "-storage",
    "OPERATIONS_PORT": "9100",
    "LOG_LEVEL": "debug",
    "PATH": "/usr/bin",
}


def test_values_are_typed_and_the_rest_are_defaults() -> None:
    """Each variable lands in its section with its type; other variables are nobody's business."""
    settings = load_settings(Everything, COMPLETE)
    assert settings.kafka.bootstrap == "one:9092,two:9092"
    assert settings.kafka.sasl_password == SecretStr(SECRET + "-kafka")
    assert settings.kafka.sasl_mechanism == "SCRAM-SHA-512"
    assert settings.operations.port == 9100
    assert settings.operations.host == "127.0.0.1"
    assert settings.logging.level == "debug"
    assert settings.storage.directory == Path("/srv/pictures")


def test_all_problems_are_reported_together() -> None:
    """One start tells everything that is wrong, in every section, each by its variable's name."""
    wrong = {
        "DATABASE_POOL_SIZE": "many",
        "OPERATIONS_PORT": "70000",
        "OPERATIONS_DRAIN_DEADLINE_S": "0",
        "LOG_LEVEL": "loud",
        "STORAGE_KEY_SECRET": "short",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(Everything, wrong)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "KAFKA_BOOTSTRAP",
        "DATABASE_URL",
        "DATABASE_POOL_SIZE",
        "OPERATIONS_PORT",
        "OPERATIONS_DRAIN_DEADLINE_S",
        "LOG_LEVEL",
        "ENCRYPTION_KEYS",
        "STORAGE_DIRECTORY",
        "STORAGE_KEY_SECRET",
    ]
    assert "KAFKA_BOOTSTRAP: is not set" in caught.value.problems
    assert str(caught.value) == "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "a"}, "KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SSL_CERTFILE": "/cert"}, "KAFKA_SSL_KEYFILE"),
        ({"KAFKA_SSL_KEYFILE": "/key"}, "KAFKA_SSL_CERTFILE"),
    ],
)
def test_variables_that_belong_together_are_checked_together(values: dict[str, str], expected: str) -> None:
    """Half a set of credentials is named at start, not at the first connection."""
    with pytest.raises(SettingsError) as caught:
        load_section(KafkaSettings, {"KAFKA_BOOTSTRAP": "b:1", **values})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("KAFKA_*: ")
    assert expected in caught.value.problems[0]


S3 = {
    "S3_BUCKET": "pictures",
    "S3_ENDPOINT": "https://account.r2.cloudflarestorage.com/",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": SECRET + "-s3",
}


def test_a_bucket_needs_no_directory() -> None:
    """Its variables have a prefix of their own; the endpoint is an origin."""
    storage = load_section(StorageSettings, S3 | {"S3_PREFIX": "alerts/eu"})
    assert (storage.s3_bucket, storage.s3_region, storage.s3_prefix) == ("pictures", "auto", "alerts/eu")
    assert storage.s3_endpoint == "https://account.r2.cloudflarestorage.com"
    assert storage.directory is None
    assert SECRET not in f"{storage} {[variable.value for variable in variables_of(Stored(storage))]}"


@dataclass(frozen=True, slots=True)
class Stored:
    storage: StorageSettings


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"S3_BUCKET": ""}, "STORAGE_DIRECTORY"),
        ({"S3_ACCESS_KEY_ID": ""}, "STORAGE_*"),
        ({"S3_SECRET_ACCESS_KEY": ""}, "STORAGE_*"),
        ({"S3_ENDPOINT": ""}, "STORAGE_*"),
        ({"S3_ENDPOINT": "account.r2.cloudflarestorage.com"}, "S3_ENDPOINT"),
        ({"S3_ENDPOINT": "https://account.r2.cloudflarestorage.com/pictures"}, "S3_ENDPOINT"),
        ({"S3_ENDPOINT": "https://user:word@host"}, "S3_ENDPOINT"),
        ({"S3_PREFIX": "/alerts"}, "S3_PREFIX"),
        ({"S3_PREFIX": "alerts/"}, "S3_PREFIX"),
        ({"S3_PREFIX": "../alerts"}, "S3_PREFIX"),
        ({"S3_LINKS": "public"}, "S3_LINKS"),
    ],
)
def test_half_a_bucket_is_told_at_start(changes: dict[str, str], variable: str) -> None:
    """Not by the first picture."""
    with pytest.raises(SettingsError) as caught:
        load_section(StorageSettings, S3 | changes)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [variable]


def test_a_wrong_secret_is_not_quoted() -> None:
    """The problem of a secret names its variable and its fault, never its value."""
    values = {**COMPLETE, "STORAGE_KEY_SECRET": "s3cr3t", "KAFKA_SASL_USERNAME": ""}
    with pytest.raises(SettingsError) as caught:
        load_settings(Everything, values)
    assert len(caught.value.problems) == 2
    assert "s3cr3t" not in str(caught.value)
    assert SECRET not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        load_section(StorageWriterSettings, values)
    # a traceback shows the library's error too
    assert "s3cr3t" not in str(caught.value) + str(caught.value.__cause__)


def test_secrets_never_show() -> None:
    """Neither printing settings nor the configuration table reveals a secret; plain values are shown."""
    settings = load_settings(Everything, COMPLETE)
    rows = {row.name: row for row in variables_of(settings)}
    sections = (settings.kafka, settings.postgres, settings.encryption, settings.storage)
    shown = [
        repr(settings),
        str(settings),
        *map(str, sections),
        *map(repr, sections),
        str(list(rows.values())),
    ]
    assert SECRET not in "".join(shown)
    assert rows["DATABASE_URL"].value == "**********"
    assert rows["KAFKA_BOOTSTRAP"].value == "one:9092,two:9092"


def test_the_table_has_every_variable_once_with_its_meaning() -> None:
    """Operators read the table instead of the code."""
    rows = variables_of(load_settings(Everything, COMPLETE))
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert set(COMPLETE) - {"PATH"} <= set(names)
    assert all(row.description for row in rows)


def test_an_empty_variable_is_unset() -> None:
    """Compose files switch a variable off by leaving it empty: the default counts, or it is missing."""
    settings = load_settings(Everything, {**COMPLETE, "OPERATIONS_PORT": "", "KAFKA_SSL_CAFILE": ""})
    assert (settings.operations.port, settings.kafka.ssl_cafile) == (0, None)
    with pytest.raises(SettingsError, match="DATABASE_URL: is not set"):
        load_settings(Everything, {**COMPLETE, "DATABASE_URL": ""})


def test_settings_cannot_be_changed() -> None:
    """What a process was started with stays."""
    settings = load_settings(Everything, COMPLETE)
    with pytest.raises(ValidationError, match="frozen"):
        settings.kafka.bootstrap = "elsewhere"
    with pytest.raises(AttributeError):
        settings.kafka = settings.kafka  # type: ignore[misc]  # what the test is about
