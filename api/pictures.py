"""`GET /pictures/{key}`: a picture for whoever holds its link."""

import asyncio
from pathlib import Path

from aiohttp import web

from api.dependencies import DEPENDENCIES
from api.problems import INVALID_LINK, NOT_FOUND, RefusedError
from runtime.errors import InvalidError


class FilesystemPictures:
    """Pictures as files below a folder, written by the capture role. The key is the relative path."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def read(self, key: str) -> bytes | None:
        """The whole picture, None when there is none. The key must have been checked by `PictureLinks`."""
        return await asyncio.to_thread(self._read, key)

    def _read(self, key: str) -> bytes | None:
        try:
            return (self._directory / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


async def show_picture(request: web.Request) -> web.Response:
    """Raises `RefusedError`: 403 whatever is wrong with the link, 404 only to the holder of a right one."""
    dependencies = request.app[DEPENDENCIES]
    key = request.match_info["key"]
    expires, signature = (request.query.get(name, "") for name in ("expires", "signature"))
    try:
        remaining_s = dependencies.links.check(key, expires, signature)
    except InvalidError as error:
        raise RefusedError(INVALID_LINK) from error
    picture = await dependencies.pictures.read(key)
    if picture is None:
        raise RefusedError(NOT_FOUND)
    headers = {
        # a key is written once, so what is cached never changes
        "Cache-Control": f"private, max-age={remaining_s}, immutable",
        "Content-Disposition": "inline",
    }
    return web.Response(body=picture, headers=headers, content_type="image/png")
