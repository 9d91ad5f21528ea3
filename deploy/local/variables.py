"""The variables that tie the roles of one stack together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.local.addresses import Addresses
from deploy.local.keychain import Keychain
from deploy.local.layout import Layout
from deploy.local.settings import LocalSettings

# A little less than the supervisor waits, so that a role that is late says so itself.
_DRAIN_DEADLINE_S: Final = 7

_EXTERNAL_PREFIXES: Final = ("KAFKA_", "DATABASE_", "S3_")
_DATABASE_URLS: Final = (
    "DATABASE_URL",
    "SINK_DATABASE_URL",
    "CAPTURE_DATABASE_URL",
    "API_DATABASE_URL",
    "SINK_OWNER_URL",
)

Variables = dict[str, str]


def address_variables(settings: LocalSettings, addresses: Addresses) -> Variables:
    """Where things are in this run; already holds what a person chose."""
    return {
        "INGEST_HOST": addresses.ingest_host,
        "INGEST_PORT": str(addresses.ports["ingest_port"]),
        "API_HOST": addresses.api_host,
        "API_PORT": str(addresses.ports["api_port"]),
        "CHART_ORIGIN": settings.chart_origin or addresses.chart_origin,
        **_kafka_variables(settings, addresses),
    }


def default_variables(layout: Layout, addresses: Addresses, keychain: Keychain) -> Variables:
    """What a person may well set otherwise."""
    return {
        "API_PUBLIC_ORIGIN": addresses.api_origin,
        "API_LINK_SECRET": keychain.api_link_secret.get_secret_value(),
        "INGEST_STATE_DIRECTORY": str(layout.state),
        "PROCESS_STATE_DIRECTORY": str(layout.state),
        "STORAGE_DIRECTORY": str(layout.pictures),
        "STORAGE_KEY_SECRET": keychain.storage_key_secret.get_secret_value(),
        "ENCRYPTION_KEYS": keychain.encryption_keys.get_secret_value(),
    }


def process_variables() -> Variables:
    """For the supervisor's children only; a person's own `alerts …` has no use for them."""
    return {
        "ALERTS_ENV_FILE": "",
        "LOG_FORMAT": "json",
        "OPERATIONS_DRAIN_DEADLINE_S": str(_DRAIN_DEADLINE_S),
    }


def inherited_variables(values: Mapping[str, str]) -> Variables:
    """What the supervisor's children take over from a person; who they are to the database they are told."""
    return {name: value for name, value in values.items() if name not in _DATABASE_URLS}


def external_variables(values: Mapping[str, str]) -> Variables:
    """How a person told us to reach real services."""
    return {name: value for name, value in values.items() if name.startswith(_EXTERNAL_PREFIXES)}


def browser_variables(browser: Path, user: str) -> Variables:
    """`user` is whom the browser runs as; empty: as the capture role itself."""
    return {"CAPTURE_BROWSER": str(browser), "CAPTURE_BROWSER_USER": user}


def account_variables(settings: LocalSettings) -> Variables:
    """The look-alike bans nobody: its accounts are spared neither pages nor pauses."""
    if settings.chart_origin:
        return {}
    return {"CAPTURE_ACCOUNT_SPACING_S": "0", "CAPTURE_ACCOUNT_HOURLY": "0"}


def chart_site_variables(layout: Layout, addresses: Addresses, keychain: Keychain) -> Variables:
    return {
        "CHART_SITE_PORT": str(addresses.ports["chart_site_port"]),
        "CHART_SITE_SECRET": keychain.chart_site_secret.get_secret_value(),
        "CHART_SITE_LIBRARY": str(layout.chart_library),
    }


def unless_chosen(defaults: Mapping[str, str], values: Mapping[str, str]) -> Variables:
    """The defaults, except that what a person set to something stands."""
    return {name: values.get(name) or value for name, value in defaults.items()}


def _kafka_variables(settings: LocalSettings, addresses: Addresses) -> Variables:
    # Real brokers keep a person's choices about security, replication and partition counts.
    if settings.kafka_bootstrap:
        return {"KAFKA_BOOTSTRAP": settings.kafka_bootstrap}
    return {
        "KAFKA_BOOTSTRAP": f"127.0.0.1:{addresses.ports['kafka_port']}",
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "KAFKA_TOPIC_PROFILE": "local",
        "KAFKA_REPLICATION": "1",
    }
