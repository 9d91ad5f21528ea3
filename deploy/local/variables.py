"""The variables that tie the roles of one stack together."""

from collections.abc import Mapping
from typing import Final

from deploy.local.addresses import Addresses
from deploy.local.browser import browser_user, find_browser
from deploy.local.keychain import Keychain
from deploy.local.layout import Layout
from deploy.local.settings import LocalSettings

_DRAIN_DEADLINE_S: Final = 7

Variables = dict[str, str]


def stack_variables(layout: Layout, settings: LocalSettings, addresses: Addresses, keychain: Keychain) -> Variables:
    """What every role needs and what `.local/env` tells other commands, before a person's own choices."""
    return {
        "INGEST_HOST": addresses.ingest_host,
        "INGEST_PORT": str(addresses.ports["ingest_port"]),
        "API_HOST": addresses.api_host,
        "API_PORT": str(addresses.ports["api_port"]),
        "API_PUBLIC_ORIGIN": addresses.api_origin,
        "API_LINK_SECRET": keychain.api_link_secret.get_secret_value(),
        "CHART_ORIGIN": settings.chart_origin or addresses.chart_origin,
        "STORAGE_DIRECTORY": str(layout.pictures),
        "STORAGE_KEY_SECRET": keychain.storage_key_secret.get_secret_value(),
        "ENCRYPTION_KEYS": keychain.encryption_keys.get_secret_value(),
        "CAPTURE_BROWSER": str(find_browser()),
        "CAPTURE_BROWSER_USER": browser_user(),
        "LOG_FORMAT": "json",
        "OPERATIONS_DRAIN_DEADLINE_S": str(_DRAIN_DEADLINE_S),
    }


def kafka_variables(settings: LocalSettings, addresses: Addresses) -> Variables:
    """The brokers. Real ones keep a person's choices about security, replication and partition counts."""
    if settings.kafka_bootstrap:
        return {"KAFKA_BOOTSTRAP": settings.kafka_bootstrap}
    return {
        "KAFKA_BOOTSTRAP": f"127.0.0.1:{addresses.ports['kafka_port']}",
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "KAFKA_TOPIC_PROFILE": "local",
        "KAFKA_REPLICATION": "1",
    }


def chosen_by_person(defaults: Mapping[str, str], values: Mapping[str, str]) -> Variables:
    """The defaults, but what a person set to something stands."""
    return {name: values.get(name) or value for name, value in defaults.items()}


def chart_site_variables(layout: Layout, addresses: Addresses, keychain: Keychain) -> Variables:
    return {
        "CHART_SITE_PORT": str(addresses.ports["chart_site_port"]),
        "CHART_SITE_SECRET": keychain.chart_site_secret.get_secret_value(),
        "CHART_SITE_LIBRARY": str(layout.chart_library),
        "LOG_FORMAT": "json",
    }
