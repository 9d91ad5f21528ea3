"""Files the pages use, held in memory and addressed by content, so that a browser never asks twice."""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web

from runtime.errors import FatalError

LIBRARY_FILE: Final = "lightweight-charts.js"

_OWN: Final = ("chart.css", "strip.js", "pranks.js", "chart.js")
_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}


class Assets:
    """`urls`: the address of each file by its placeholder in the pages (`chart_css`, `library_js`)."""

    def __init__(self, library: Path) -> None:
        """Read all files. Raises `FatalError` when `library` does not hold the chart library."""
        self._by_path: dict[str, tuple[str, bytes]] = {}
        urls: dict[str, str] = {}
        for name, body in _bodies(library):
            digest = hashlib.sha256(body).hexdigest()[:16]
            path = f"{digest}/{name}"
            self._by_path[path] = (_TYPES[Path(name).suffix], body)
            urls[_placeholder(name)] = f"/static/{path}"
        self.urls: Mapping[str, str] = urls

    async def serve(self, request: web.Request) -> web.Response:
        found = self._by_path.get(request.match_info["path"])
        if found is None:
            raise web.HTTPNotFound
        content_type, body = found
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)

    async def serve_worker(self, _request: web.Request) -> web.Response:
        """The service worker, which must stand above the pages it serves."""
        body = (files("deploy.local.chart") / "worker.js").read_bytes()
        return web.Response(body=body, content_type="text/javascript", charset="utf-8")


def _bodies(library: Path) -> Iterator[tuple[str, bytes]]:
    for name in _OWN:
        yield name, (files("deploy.local.chart") / name).read_bytes()
    try:
        yield LIBRARY_FILE, (library / LIBRARY_FILE).read_bytes()
    except OSError as error:
        raise FatalError(f"no chart library: {library / LIBRARY_FILE}") from error


def _placeholder(name: str) -> str:
    return "library_js" if name == LIBRARY_FILE else name.replace(".", "_")
