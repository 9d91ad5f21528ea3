"""Asks the chart site by one light page whether it still takes a session. No browser, no chart, no script."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp

from capture.chart import Origin
from capture.outcomes import Outcome
from capture.session import TradingViewSession
from capture.site import Site

DEADLINE_S: Final = 8.0
"""Shorter than a lease is sure without a renewal."""

_READ_MAX_BYTES: Final = 256 * 1024
_CHUNK_BYTES: Final = 16 * 1024
_CLIENT: Final = "alerts-session-check"


class Verdict(StrEnum):
    """`UNKNOWN`: the page did not say, so nothing follows from it."""

    VALID = "valid"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class SessionProbe(Protocol):
    """Who can tell whether a session is valid."""

    async def ask(self, session: TradingViewSession) -> Verdict:
        """Takes no longer than 8 s, never raises when the site is away."""
        ...


class SessionPage:
    """The page of the site file. Redirects are not followed: the cookies go to the origin alone."""

    def __init__(self, client: aiohttp.ClientSession, origin: Origin, site: Site) -> None:
        self._client = client
        self._url = f"{origin}{site.session_page.path}"
        self._site = site

    async def ask(self, session: TradingViewSession) -> Verdict:
        headers = {"Cookie": _cookie_header(session), "Accept": "text/html", "User-Agent": _CLIENT}
        try:
            async with self._client.get(self._url, headers=headers, allow_redirects=False) as answer:
                return await self._judge(answer)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Verdict.UNKNOWN

    async def _judge(self, answer: aiohttp.ClientResponse) -> Verdict:
        if self._site.statuses.get(str(answer.status)) is Outcome.SESSION_EXPIRED:
            return Verdict.EXPIRED
        # a site in trouble takes everybody for signed out
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Verdict.UNKNOWN
        classes = await _root_classes(answer.content)
        signed_in = self._site.session_page.signed_in in classes
        signed_out = self._site.session_page.signed_out in classes
        if signed_in == signed_out:
            return Verdict.UNKNOWN
        return Verdict.VALID if signed_in else Verdict.EXPIRED


@asynccontextmanager
async def open_session_page(origin: Origin, site: Site) -> AsyncIterator[SessionPage]:
    """With a client that keeps no cookie from one user to the next."""
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as client:
        yield SessionPage(client, origin, site)


class _Root(HTMLParser):
    """The classes of the first `html` tag, None until it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "html" and self.classes is None:
            self.classes = (dict(attrs).get("class") or "").split()


async def _root_classes(content: aiohttp.StreamReader) -> list[str]:
    """Reads no more than it takes."""
    root, read_bytes = _Root(), 0
    async for chunk in content.iter_chunked(_CHUNK_BYTES):
        # whatever the encoding, names of classes are ASCII
        root.feed(chunk.decode("latin-1"))
        read_bytes += len(chunk)
        if root.classes is not None or read_bytes >= _READ_MAX_BYTES:
            break
    return root.classes or []


def _cookie_header(session: TradingViewSession) -> str:
    sessionid = session.sessionid.get_secret_value()
    return f"sessionid={sessionid}; sessionid_sign={session.sessionid_sign.get_secret_value()}"
