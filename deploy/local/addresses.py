"""Where the parts of one run listen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from deploy.local.ports import Ports, PortWish
from deploy.local.settings import INSTANCES, LocalSettings


def _operations_port(instance: str) -> str:
    return f"{instance.replace('-', '_')}_operations_port"


_DEFAULTS: Final = {
    "ingest_port": 8080,
    "api_port": 8081,
    "chart_site_port": 8090,
    "kafka_port": 19092,
    "kafka_controller_port": 19093,
    "postgres_port": 15432,
    **{_operations_port(instance): 9101 + number for number, instance in enumerate(INSTANCES)},
}
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Addresses:
    """A port for each field of `LocalSettings` that ends in `_port` and is needed.

    `notes` has a line for each part that does not listen where it usually does.
    """

    ingest_host: str
    api_host: str
    ports: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def ingest_origin(self) -> str:
        return _origin(self.ingest_host, self.ports["ingest_port"])

    @property
    def api_origin(self) -> str:
        return _origin(self.api_host, self.ports["api_port"])

    @property
    def chart_origin(self) -> str:
        return _origin("127.0.0.1", self.ports["chart_site_port"])

    def operations_port(self, instance: str) -> int:
        return self.ports[_operations_port(instance)]


def choose_addresses(settings: LocalSettings, ports: Ports) -> Addresses:
    """Choose a port for everything that will be started. Raises `PortTakenError`."""
    wishes = {name: _wish(name, settings) for name in _DEFAULTS if name not in _unneeded(settings)}
    granted: dict[str, int] = {}
    # what a person chose comes first, lest another part's search for a free port ends there
    for name, wish in sorted(wishes.items(), key=lambda item: item[1].chosen is None):
        granted[name] = ports.grant(wish)
    notes = tuple(_note(wish, granted[name]) for name, wish in wishes.items() if _moved(wish, granted[name]))
    return Addresses(settings.ingest_host, settings.api_host, granted, notes)


def _moved(wish: PortWish, port: int) -> bool:
    return port not in (wish.default, wish.chosen)


def _note(wish: PortWish, port: int) -> str:
    return f"port {wish.default} is taken: {wish.variable} is {port} this time"


def _unneeded(settings: LocalSettings) -> set[str]:
    kafka = {"kafka_port", "kafka_controller_port"} if settings.kafka_bootstrap else set()
    postgres = {"postgres_port"} if settings.database_url else set()
    charts = {"chart_site_port"} if settings.chart_origin else set()
    return kafka | postgres | charts


def _wish(name: str, settings: LocalSettings) -> PortWish:
    hosts = {"ingest_port": settings.ingest_host, "api_port": settings.api_host}
    return PortWish(
        variable=LocalSettings.variable(name),
        default=_DEFAULTS[name],
        chosen=getattr(settings, name),
        host=hosts.get(name, "127.0.0.1"),
    )


def _origin(host: str, port: int) -> str:
    reachable = _WILDCARDS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
