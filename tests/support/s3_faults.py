"""An S3 server with moods: before a real one, it refuses what R2 refuses and fails when a test says so."""

import asyncio
import io
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from aiohttp import ClientSession, web
from multidict import CIMultiDict

from tests.support.capture_parts import serving

_HOP = {"connection", "expect", "transfer-encoding", "content-length"}
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>"


class Break(Enum):
    """How a connection ends without an answer."""

    BEFORE = "the server has not seen the request"
    AFTER = "the server has done it"
    NEVER = "the server says nothing at all"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as S3 tells it."""

    status: int
    code: str


Fault = Break | Refusal


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class MoodyS3:
    """Each request takes the next of `faults`, the rest go through. What is refused counts as seen too.

    Writes pass one by one: for S3 and R2 `If-None-Match` and the write are one step, for S3Proxy two.
    """

    upstream: str
    http: ClientSession
    endpoint: str = ""
    faults: deque[Fault] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.path, headers))
        self.arrived.set()
        fault = self.faults.popleft() if self.faults else None
        if fault is None and any("checksum" in name for name in headers):
            fault = Refusal(501, "NotImplemented")
        if isinstance(fault, Refusal):
            text = "" if request.method == "HEAD" else _ERROR.format(code=fault.code)
            return web.Response(status=fault.status, text=text, content_type="application/xml")
        if fault is Break.NEVER:
            await asyncio.Event().wait()
        if fault is Break.BEFORE:
            return _hang_up(request)
        if request.method == "PUT":
            async with self.writing:
                response = await self._pass_on(request)
        else:
            response = await self._pass_on(request)
        return _hang_up(request) if fault is Break.AFTER else response

    async def _pass_on(self, request: web.Request) -> web.Response:
        # with the client's Host, which is signed
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in _HOP)
        url = self.upstream + request.raw_path
        body = await request.read()
        data = io.BytesIO(body) if body else None
        async with self.http.request(request.method, url, headers=headers, data=data) as answer:
            kept = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP)
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                kept["Content-Length"] = answer.headers["Content-Length"]
                return web.Response(status=answer.status, headers=kept)
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


@asynccontextmanager
async def moody_s3(upstream: str) -> AsyncIterator[MoodyS3]:
    async with ClientSession(auto_decompress=False, skip_auto_headers=("Content-Type",)) as http:
        moody = MoodyS3(upstream, http)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", moody.answer)
        async with serving(app) as moody.endpoint:
            yield moody


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
