"""Browser contexts kept warm: a user's cookies, cache and storage, for this user alone."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from capture.chart import Origin
from capture.connection import PipeConnection
from capture.errors import CommandError
from capture.session import TradingViewSession
from capture.site import Site
from runtime.clock import Clock

_DISPOSE_DEADLINE_S: Final = 2.0
PAGE_BYTES: Final = 250 * 1024**2
"""What a page kept since the last measurement counts for: a chart of the real site's size."""


Cookies = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Warmth:
    """How many contexts a browser keeps, and for how long.

    `pages` of them keep an empty page too, while the browser holds no more than `memory_bytes`.
    """

    count: int
    age_s: float
    pages: int = 0
    memory_bytes: int = 0


@dataclass(slots=True)
class WarmContext:
    """A user's context, of pyppeteer's type. `page`: the empty one, when it keeps one and that is free."""

    puppet: Any
    version: int
    born_s: float
    in_use: bool = True
    keeps_page: bool = False
    page: Any = None

    def keep(self, page: Any) -> None:
        """It is there for the next picture, unless it crashes meanwhile."""
        self.page = page
        page.on("error", self._forget_page)

    def take_page(self) -> Any:
        """The kept page, if there is one that works."""
        page, self.page = self.page, None
        return None if page is None or page.isClosed() else page

    def _forget_page(self, _error: object) -> None:
        self.page = None


class WarmContexts:
    """The contexts of one browser by user. A context never changes hands and never outlives its cookies.

    One capture of a user at a time: whoever took a context gives it back before it is taken again.
    `stuck` is set when the browser did not let go of one.
    """

    def __init__(self, connection: PipeConnection, warmth: Warmth, clock: Clock) -> None:
        self.puppet: Any = None
        self.stuck = False
        self._connection = connection
        self._warmth = warmth
        self._clock = clock
        self._warm: OrderedDict[UUID, WarmContext] = OrderedDict()
        self._memory_bytes = 0

    async def measured(self, memory_bytes: int) -> None:
        """What the browser holds by now. Too much, and whoever came longest ago loses page and context."""
        self._memory_bytes = memory_bytes
        if memory_bytes > self._warmth.memory_bytes:
            idle = (user for user, entry in self._warm.items() if entry.keeps_page and not entry.in_use)
            if (longest_ago := next(idle, None)) is not None:
                await self.drop(longest_ago)

    async def take(self, user_id: UUID, version: int, cookies: Cookies) -> WarmContext:
        """The user's context with the cookies. Raises `CommandError`."""
        await self._drop_aged()
        entry = self._warm.get(user_id)
        if entry is not None and entry.version != version:
            await self.drop(user_id)
            entry = None
        if entry is None:
            entry = WarmContext(await self._create(cookies), version, self._clock.monotonic_s())
            self._warm[user_id] = entry
        if not entry.keeps_page and self._has_room():
            # for the context's life: users who take turns would else take each other's page away
            entry.keeps_page = True
            self._memory_bytes += PAGE_BYTES
        entry.in_use = True
        self._warm.move_to_end(user_id)
        await self._drop_surplus()
        return entry

    def give_back(self, user_id: UUID) -> None:
        """The capture is over, its page closed or empty: the context stays warm."""
        if user_id in self._warm:
            self._warm[user_id].in_use = False

    async def drop(self, user_id: UUID) -> None:
        """Destroy a context with all it holds. Never raises."""
        entry = self._warm.pop(user_id, None)
        if entry is not None and not self._connection.closed.is_set():
            await self._dispose(entry.puppet)

    def _has_room(self) -> bool:
        kept = sum(entry.keeps_page for entry in self._warm.values())
        return kept < self._warmth.pages and self._memory_bytes + PAGE_BYTES <= self._warmth.memory_bytes

    async def _create(self, cookies: Cookies) -> Any:
        context = await self.puppet.createIncognitoBrowserContext()
        owner = {"browserContextId": context._id}  # noqa: SLF001 - pyppeteer shows it nowhere else
        try:
            await self._connection.send("Storage.setCookies", {"cookies": cookies, **owner})
            await self._connection.send("Browser.setDownloadBehavior", {"behavior": "deny", **owner})
        except BaseException:
            await self._dispose(context)
            raise
        return context

    async def _dispose(self, context: Any) -> None:
        try:
            async with asyncio.timeout(_DISPOSE_DEADLINE_S):
                await context.close()
        except (CommandError, TimeoutError):
            self.stuck = True

    async def _drop_aged(self) -> None:
        oldest_s = self._clock.monotonic_s() - self._warmth.age_s
        aged = [user for user, entry in self._warm.items() if entry.born_s <= oldest_s and not entry.in_use]
        for user_id in aged:
            await self.drop(user_id)

    async def _drop_surplus(self) -> None:
        idle = [user for user, entry in self._warm.items() if not entry.in_use]
        for user_id in idle[: max(0, len(self._warm) - self._warmth.count)]:
            await self.drop(user_id)


def session_cookies(session: TradingViewSession, origin: Origin, site: Site) -> Cookies:
    """The two cookies, for the site's domain or for the one host of a look-alike."""
    place: dict[str, Any] = {"url": f"{origin}/"}
    if site.includes(origin):
        place = {"domain": f".{site.domain}", "path": "/"}
    common = {**place, "httpOnly": True, "secure": origin.is_secure, "sameSite": "Lax"}
    return [
        {"name": "sessionid", "value": session.sessionid.get_secret_value(), **common},
        {"name": "sessionid_sign", "value": session.sessionid_sign.get_secret_value(), **common},
    ]
