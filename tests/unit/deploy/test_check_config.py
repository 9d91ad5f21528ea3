import base64

from click.testing import CliRunner

from deploy.check_config import SETTINGS
from deploy.cli import main

SECRET = "never-to-be-shown-secret"
COMPLETE = {
    "ALERTS_ENV_FILE": "",
    "KAFKA_BOOTSTRAP": "broker:9092",
    "DATABASE_URL": f"postgresql://alerts:{SECRET}@db/alerts",
    "ENCRYPTION_KEYS": f"k1:{base64.b64encode(bytes(32)).decode()}",
    "API_LINK_SECRET": SECRET,
    "API_PUBLIC_ORIGIN": "https://alerts.example",
    "CHART_ORIGIN": "https://charts.example",
    "STORAGE_DIRECTORY": "/var/lib/alerts",
    "STORAGE_KEY_SECRET": SECRET,
    "CAPTURE_BROWSER": "/usr/bin/true",
}


def test_effective_values_are_shown_without_secrets() -> None:
    """Every role's variables appear once, and none of their secrets."""
    result = CliRunner().invoke(main, ["check-config"], env=COMPLETE)
    assert result.exit_code == 0, result.output
    names = [line.split()[0] for line in result.output.splitlines()]
    assert names == sorted(set(names))
    assert {"KAFKA_BOOTSTRAP", "INGEST_PORT", "API_PORT", "STORAGE_DIRECTORY"} <= set(names)
    assert SECRET not in result.output
    assert COMPLETE["ENCRYPTION_KEYS"] not in result.output


def test_all_problems_of_all_roles_are_listed_once() -> None:
    """One run tells everything that is wrong."""
    env = {**COMPLETE, "KAFKA_BOOTSTRAP": "", "INGEST_PORT": "99999", "DATABASE_URL": ""}
    result = CliRunner().invoke(main, ["check-config"], env=env)
    assert result.exit_code == 2
    assert result.output.count("KAFKA_BOOTSTRAP: is not set") == 1
    assert "INGEST_PORT: " in result.output
    assert "DATABASE_URL: is not set" in result.output


def test_one_role_can_be_asked_for() -> None:
    """A role needs only its own variables."""
    env = {"ALERTS_ENV_FILE": "", "KAFKA_BOOTSTRAP": "broker:9092", "DATABASE_URL": ""}
    result = CliRunner().invoke(main, ["check-config", "--role", "ingest"], env=env)
    assert result.exit_code == 0
    assert "API_PORT" not in result.output


def test_every_role_has_settings() -> None:
    """The table covers the roles of the pipeline."""
    assert list(SETTINGS) == ["ingest", "process", "sink", "capture", "api"]
