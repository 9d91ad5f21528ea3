"""Where everything of a clone's stack lies."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below the clone's `.local`, all absolute."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".local"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets.json"

    @property
    def environment(self) -> Path:
        return self.folder / "env"

    @property
    def demo(self) -> Path:
        return self.folder / "demo.json"

    @property
    def state(self) -> Path:
        """What the ingress and the processors must not forget: the spool and the known tenants."""
        return self.folder / "state"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def kafka(self) -> Path:
        return self.folder / "kafka"

    @property
    def kafka_libraries(self) -> Path:
        return self.folder / "opt/kafka/libs"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def chart_library(self) -> Path:
        return self.folder / "opt/lightweight-charts/lightweight_charts/js"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"
