"""The API on a real port, and signals for it to show."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from aiohttp import ClientSession
from pydantic import SecretStr

from api.app import create_app
from api.cursor import CursorSeal
from api.dependencies import ApiDependencies
from api.links import PictureLinks
from api.picture_sources import FolderPictures, PictureSource
from runtime.backlog import PipelineHealth
from runtime.clock import SystemClock, utc_now
from runtime.ids import SignalIds, received_at_of
from runtime.metrics import Metrics, create_metrics
from runtime.operations import Listener, serve_http
from runtime.picture_files import PictureFiles
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from schemas.records import ExactDecimal, Signal, Source, SourceFormat, Warning_
from sinks.store import SignalStore
from tests.support.clock import FakeClock
from tests.support.signals import accepted_signal, signal_of

LINK_SECRET: Final = SecretStr("link-secret-of-the-tests")
ORIGIN: Final = "https://pictures.test"
LINK_LIFETIME_S: Final = 900

_IDS: Final = SignalIds(SystemClock())


@dataclass
class PipelineGauge:
    """A pipeline health that a test sets."""

    value: PipelineHealth = field(default_factory=lambda: PipelineHealth(0, 0, known=True))

    def __call__(self) -> PipelineHealth:
        return self.value


@dataclass(frozen=True)
class ReadSide:
    """An API that runs, with what a test moves or looks at."""

    client: ClientSession
    clock: FakeClock
    pipeline: PipelineGauge
    metrics: Metrics

    async def get(self, path: str, key: str | None = None, **options: Any) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.client.get(path, headers=headers, **options) as answer:
            return answer.status, await answer.json(content_type=None)


def picture_links(clock: FakeClock) -> PictureLinks:
    return PictureLinks(LINK_SECRET, ORIGIN, LINK_LIFETIME_S, clock)


@asynccontextmanager
async def serve_read_side(pool: Pool, pictures: PictureSource | Path) -> AsyncIterator[ReadSide]:
    """Pictures come from a source, or from the files of a folder."""
    clock, metrics, pipeline = FakeClock(), create_metrics(), PipelineGauge()
    dependencies = ApiDependencies(
        pool=pool,
        cursors=CursorSeal(LINK_SECRET),
        links=picture_links(clock),
        pictures=FolderPictures(PictureFiles(pictures)) if isinstance(pictures, Path) else pictures,
        pipeline_health=pipeline,
        clock=clock,
        metrics=metrics,
    )
    async with (
        serve_http(create_app(dependencies), Listener("127.0.0.1", 0)) as port,
        ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        yield ReadSide(client, clock, pipeline, metrics)


@asynccontextmanager
async def pool_of(url: str) -> AsyncIterator[Pool]:
    async with open_pool(PostgresSettings.model_validate({"url": url}), "test") as pool:
        yield pool


def new_signal(user_id: UUID, signal_id: UUID | None = None, **changes: Any) -> Signal:
    """A signal with something in every field, received when its id was minted: now, unless one is given."""
    signal_id = signal_id or _IDS.mint()
    received_at = received_at_of(signal_id)
    values: dict[str, Any] = {
        "signal_id": signal_id,
        "price": ExactDecimal("67890.50"),
        "bar_time": received_at.replace(microsecond=0),
        "triggered_at": received_at.replace(microsecond=250),
        "fields": {"RSI": "31.5", "TP": None},
        "message": "línea 🟢\n{}",
        "warnings": [Warning_.NAIVE_TIME],
        "source": Source(format=SourceFormat.JSON, indicator_file="adx.toml", parse_revision=3),
        **changes,
    }
    return signal_of(user_id, **values)


async def store(pool: Pool, *signals: Signal) -> None:
    """Put signals where the sink puts them."""
    now = utc_now(SystemClock())
    await SignalStore(pool).insert([accepted_signal(signal) for signal in signals], now)
