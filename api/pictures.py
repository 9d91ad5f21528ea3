"""`GET /pictures/{key}`: a picture for whoever holds its link."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from api.dependencies import DEPENDENCIES
from api.picture_sources import Elsewhere
from api.problems import INVALID_LINK, NOT_FOUND, RefusedError
from runtime.errors import InvalidError

_REDIRECT_MARGIN_S: Final = 10
"""A redirect is cached by so much less than its target lives."""


async def show_picture(request: web.Request) -> web.Response:
    """The picture, or 302 to it.

    Raises `RefusedError`: 403 whatever is wrong with the link, 404 only to the holder of a right one.
    """
    dependencies = request.app[DEPENDENCIES]
    key = request.match_info["key"]
    expires, signature = (request.query.get(name, "") for name in ("expires", "signature"))
    try:
        remaining_s = dependencies.links.check(key, expires, signature)
    except InvalidError as error:
        raise RefusedError(INVALID_LINK) from error
    picture = await dependencies.pictures.find(key, remaining_s)
    if picture is None:
        raise RefusedError(NOT_FOUND)
    if isinstance(picture, Elsewhere):
        return _redirect(picture)
    headers = {
        # a key is written once, so what is cached never changes
        "Cache-Control": f"private, max-age={remaining_s}, immutable",
        "Content-Disposition": "inline",
    }
    return web.Response(body=picture, headers=headers, content_type="image/png")


def _redirect(picture: Elsewhere) -> web.Response:
    fresh_s = max(0, picture.lifetime_s - _REDIRECT_MARGIN_S)
    headers = {"Location": picture.url, "Cache-Control": f"private, max-age={fresh_s}"}
    return web.Response(status=HTTPStatus.FOUND, headers=headers)
