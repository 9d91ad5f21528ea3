"""What the handlers work with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from api.cursor import CursorSeal
from api.keys import ApiKeys
from api.links import PictureLinks
from runtime.backlog import PipelineHealth
from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.postgres import Pool


class PictureSource(Protocol):
    """Where pictures are kept."""

    async def read(self, key: str) -> bytes | None:
        """The whole picture, None when there is none. May take long; must not block the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    pool: Pool
    keys: ApiKeys
    cursors: CursorSeal
    links: PictureLinks
    pictures: PictureSource
    pipeline_health: Callable[[], PipelineHealth]
    clock: Clock
    metrics: Metrics


DEPENDENCIES: Final = web.AppKey("dependencies", ApiDependencies)
