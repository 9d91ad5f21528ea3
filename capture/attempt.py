"""One try of a picture, from the user's session to the stored file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from capture.chart import view_of
from capture.engine import CaptureOrder, Shot
from capture.outcomes import CaptureFailedError, Outcome, PictureWarning
from capture.session import Sessions, TradingViewSession
from capture.storage import PictureStore
from runtime.backoff import backoff_s
from runtime.clock import Clock
from runtime.errors import InvalidError
from runtime.logging import get_logger
from schemas.plans import PLAN_TERMS
from schemas.records import CaptureRequest, Picture

_STORE_TRIES: Final = 3

log = get_logger(__name__)


class Renderer(Protocol):
    """Takes pictures: `capture.engine.Engine`, or a stand-in."""

    async def capture(self, order: CaptureOrder) -> Shot:
        """Raises `CaptureFailedError`, or `TransientError` when it could not even begin."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """A stored picture and how it came about."""

    picture: Picture
    warning: PictureWarning | None
    timings_ms: dict[str, int]


@dataclass(frozen=True, slots=True)
class Studio:
    """What it takes to make and keep pictures. `key_of` names the picture of a request."""

    renderer: Renderer
    sessions: Sessions
    store: PictureStore
    key_of: Callable[[CaptureRequest], str]
    clock: Clock

    async def existing(self, request: CaptureRequest) -> Picture | None:
        """The picture an earlier try of this request has left, whoever made it."""
        return await self.store.find(self.key_of(request))

    async def take(self, request: CaptureRequest, session: TradingViewSession) -> Taken:
        """One try. Raises `CaptureFailedError`, or what the renderer raises when it could not begin."""
        shot = await self.renderer.capture(_order(request, session))
        started_s = self.clock.monotonic_s()
        picture = await self._store(self.key_of(request), shot)
        upload_ms = round((self.clock.monotonic_s() - started_s) * 1000)
        return Taken(picture, shot.warning, {**shot.timings_ms, "upload": upload_ms})

    async def _store(self, key: str, shot: Shot) -> Picture:
        waits = backoff_s(0.2, 2.0)
        for _try in range(_STORE_TRIES):
            try:
                return await self.store.put(key, shot.png, shot.taken_at_ms)
            except OSError as error:
                log.warning("picture_not_stored", error=type(error).__name__, errno=error.errno)
            await self.clock.sleep(next(waits))
        raise CaptureFailedError(Outcome.STORAGE_FAILED)


def _order(request: CaptureRequest, session: TradingViewSession) -> CaptureOrder:
    try:
        view = view_of(request)
    except InvalidError as error:
        raise CaptureFailedError(Outcome.INVALID_REQUEST, error.reason) from error
    terms = PLAN_TERMS[request.plan]
    return CaptureOrder(request.user_id, view, terms.picture_width_px, terms.picture_height_px, session)
