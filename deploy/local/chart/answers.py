"""Answers that are no page: to another site, to nobody, or never to an end."""

from contextlib import suppress
from typing import Final

from aiohttp import web

from runtime.clock import Clock

OFF_SITE_URL: Final = "http://elsewhere.example/chart/"

_LOOK_INTERVAL_S: Final = 0.2
_DRIP_INTERVAL_S: Final = 0.05


async def off_site() -> web.StreamResponse:
    raise web.HTTPFound(OFF_SITE_URL)


async def silence(request: web.Request, clock: Clock) -> web.StreamResponse:
    """Say nothing for as long as somebody listens."""
    while request.transport is not None and not request.transport.is_closing():
        await clock.sleep(_LOOK_INTERVAL_S)
    return web.Response()


async def drip(request: web.Request, clock: Clock) -> web.StreamResponse:
    """A page that goes on for as long as somebody listens, a byte at a time."""
    response = web.StreamResponse(headers={"Content-Type": "text/html", "Cache-Control": "no-store"})
    await response.prepare(request)
    await response.write(b"<!doctype html><html class='is-authenticated'><!-- ")
    with suppress(ConnectionError):
        while True:
            await response.write(b".")
            await clock.sleep(_DRIP_INTERVAL_S)
    return response
