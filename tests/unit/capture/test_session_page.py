import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from capture.chart import Origin
from capture.session_page import Verdict, open_session_page
from capture.site import load_site
from tests.support.capture_parts import look_alike, serving, signed_in
from tests.support.session_life import refused_session

SITE = load_site(None)
SESSION = signed_in("ana")
IN, OUT = '<html lang="en" class="theme-dark is-authenticated">', '<html class="is-not-authenticated">'


class OnePage:
    """A site of one page, whatever is asked for."""

    def __init__(self, body: str = IN, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.requests: list[web.Request] = []
        self.app = web.Application()
        self.app.router.add_get("/{path:.*}", self._answer)
        self._response = {"text": body, "status": status, "headers": headers, "content_type": "text/html"}

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        return web.Response(**self._response)  # type: ignore[arg-type]  # as above


@asynccontextmanager
async def away() -> AsyncIterator[str]:
    """The origin of a site that is not there."""
    async with serving(web.Application()) as origin:
        pass
    yield origin


async def verdict(origin: str) -> Verdict:
    async with open_session_page(Origin.parse(origin), SITE) as page:
        return await page.ask(SESSION)


async def test_the_look_alike_is_understood() -> None:
    """It tells a valid session from one it has never given out."""
    async with serving(look_alike()) as origin, open_session_page(Origin.parse(origin), SITE) as page:
        assert await page.ask(SESSION) is Verdict.VALID
        assert await page.ask(refused_session()) is Verdict.EXPIRED
        assert await page.ask(SESSION) is Verdict.VALID


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (OnePage(IN), Verdict.VALID),
        (OnePage(OUT), Verdict.EXPIRED),
        (OnePage(OUT, 403), Verdict.EXPIRED),
        (OnePage("", 401), Verdict.EXPIRED),
        (OnePage(OUT, 429), Verdict.UNKNOWN),
        (OnePage(OUT, 503), Verdict.UNKNOWN),
        (OnePage("<html><h1>Just a moment</h1>", 403), Verdict.UNKNOWN),
        (OnePage('<html class="is-authenticated is-not-authenticated">'), Verdict.UNKNOWN),
        (OnePage(f"<!-- {IN} --><html class='x'><p class='is-authenticated'>"), Verdict.UNKNOWN),
        (OnePage(f"<!-- {'x' * 100_000} -->{OUT}"), Verdict.EXPIRED),
        (OnePage("x" * 1_000_000 + OUT), Verdict.UNKNOWN),
        (OnePage("", 302, {"Location": "/accounts/signin/"}), Verdict.UNKNOWN),
    ],
)
async def test_only_a_page_that_says_so_ends_a_session(page: OnePage, expected: Verdict) -> None:
    """A site in trouble, a challenge or a redirect says nothing about the session."""
    async with serving(page.app) as origin:
        assert await verdict(origin) is expected


async def test_a_site_that_is_away_says_nothing() -> None:
    """Neither does one that breaks off."""
    async with away() as origin:
        assert await verdict(origin) is Verdict.UNKNOWN


async def test_one_request_is_all() -> None:
    """With the two cookies of this user, and never on to where a redirect points."""
    page = OnePage("", 302, {"Location": "/elsewhere"})
    async with serving(page.app) as origin:
        await verdict(origin)
    [request] = page.requests
    assert request.path == "/"
    assert request.headers["Cookie"] == (
        f"sessionid={SESSION.sessionid.get_secret_value()};"
        f" sessionid_sign={SESSION.sessionid_sign.get_secret_value()}"
    )


async def test_cookies_that_the_site_sets_are_not_kept() -> None:
    """The next user is asked about as if nobody had been before."""
    page = OnePage(headers={"Set-Cookie": "sessionid=of-ana; Path=/"})
    async with serving(page.app) as origin, open_session_page(Origin.parse(origin), SITE) as probe:
        await probe.ask(SESSION)
        await probe.ask(refused_session())
    assert "of-ana" not in page.requests[1].headers["Cookie"]


async def test_a_site_that_never_answers_costs_no_more_than_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then nothing is known."""
    monkeypatch.setattr("capture.session_page.DEADLINE_S", 0.05)
    released = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", hang)
    async with serving(app) as origin:
        assert await verdict(origin) is Verdict.UNKNOWN
        released.set()
