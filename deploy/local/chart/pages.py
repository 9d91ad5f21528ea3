"""HTML from templates. Every value is escaped here, for its place: text and attributes, or the JSON tag."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from types import MappingProxyType
from typing import Final

from aiohttp import web

from deploy.local.chart import bulk
from deploy.local.chart.interval import Interval
from deploy.local.chart.states import ORDINARY, ChartState

# The one script inside a page holds no values and is allowed by its hash.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'sha256-{feed_hash}'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Inside a script tag only these can end the tag, open a comment or break a line.
_JSON_ESCAPES: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class ChartView:
    """What one page shows; `user` is None for the signed-out."""

    symbol: str
    interval: Interval
    user: str | None
    state: ChartState = ORDINARY


class Pages:
    """The site's pages. `urls` are the assets' addresses by placeholder."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        feed = _read("feed.js")
        digest = base64.b64encode(hashlib.sha256(feed.encode()).digest()).decode()
        self._headers = _HEADERS | {"Content-Security-Policy": _POLICY.format(feed_hash=digest)}
        self._parts = {**urls, "feed": feed}
        names = ("page.html", "signin.html", "missing.html", "message.html")
        self._chart, self._sign_in, self._missing, self._message = (Template(_read(name)) for name in names)

    def chart(self, view: ChartView) -> web.Response:
        config = {"symbol": view.symbol, "interval": view.interval.code, "user": view.user}
        if view.state.prank:
            config["prank"] = view.state.prank
        texts = {
            "authentication": _authentication(view.user),
            "symbol": view.symbol,
            "interval": view.interval.code,
            "interval_words": view.interval.words,
            "user": view.user or "Not signed in",
        }
        parts = {"config": json.dumps(config).translate(_JSON_ESCAPES), "extra": self._extra(view.state)}
        return self._page(self._chart, texts, parts)

    def sign_in(self) -> web.Response:
        return self._page(self._sign_in, {}, status=403)

    def missing(self, user: str | None) -> web.Response:
        return self._page(self._missing, {"authentication": _authentication(user)}, status=404)

    def private(self, user: str) -> web.Response:
        """Somebody else's layout."""
        texts = {"name": "access-denied", "title": "Access Denied", "text": "Only its owner can see it."}
        return self._page(self._message, {"authentication": _authentication(user), **texts}, status=403)

    def captcha(self, user: str) -> web.Response:
        texts = {"name": "captcha", "title": "One more step", "text": "Please show that you are human."}
        return self._page(self._message, {"authentication": _authentication(user), **texts}, status=403)

    def _extra(self, state: ChartState) -> str:
        """Tags of further scripts; in front of the chart's own, which thereby waits for them."""
        urls = [
            *(bulk.urls() if state.is_heavy else ()),
            *([self._parts["pranks_js"]] if state.prank else ()),
        ]
        return "".join(f'<script defer src="{url}"></script>\n' for url in urls)

    def _page(
        self,
        template: Template,
        texts: Mapping[str, str],
        parts: Mapping[str, str] = MappingProxyType({}),
        *,
        status: int = 200,
    ) -> web.Response:
        """`texts` are escaped, `parts` are HTML already."""
        escaped = {name: html.escape(text) for name, text in texts.items()}
        body = template.substitute(self._parts, **escaped, **parts)
        return web.Response(text=body, status=status, content_type="text/html", headers=self._headers)


def _read(name: str) -> str:
    return (files("deploy.local.chart") / name).read_text("utf-8")


def _authentication(user: str | None) -> str:
    return "is-not-authenticated" if user is None else "is-authenticated"
