"""What the handlers work with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from api.cursor import CursorSeal
from api.links import PictureLinks
from api.picture_sources import PictureSource
from runtime.backlog import PipelineHealth
from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.postgres import Pool


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    pool: Pool
    cursors: CursorSeal
    links: PictureLinks
    pictures: PictureSource
    pipeline_health: Callable[[], PipelineHealth]
    clock: Clock
    metrics: Metrics


DEPENDENCIES: Final = web.AppKey("dependencies", ApiDependencies)
