"""What every HTTP connection of ours does beyond aiohttp's."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, cast

from aiohttp import web

# A body is kept as it came, also one that calls itself compressed.
_OPTIONS: Final[dict[str, Any]] = {"access_log": None, "auto_decompress": False, "keepalive_timeout": 75.0}

HEAD_DEADLINE_S: Final = 10.0
"""From a connection to the end of its first request's head."""
LINGER_S: Final = 2.0
"""For what still comes after a request that is no HTTP. Closed at once the system would reset the connection,
and the answer could be lost with it."""

T = TypeVar("T")


class Connection(web.RequestHandler):
    """Ends after the answer in progress once the server is leaving, and when its first request is late.

    Answers what it cannot read as HTTP without quoting it, since aiohttp's own page shows the request line
    and with it a webhook token; then lingers, `LINGER_S` at most.
    """

    __slots__ = ("_first_due", "_leaving", "_left", "_unreadable")

    def __init__(self, server: web.Server, leaving: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, **_OPTIONS)
        self._leaving = leaving
        self._left: asyncio.Future[None] | None = None
        self._first_due: asyncio.TimerHandle | None = None
        self._unreadable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # aiohttp waits for ever for the head of a first request
        self._first_due = self._loop.call_later(HEAD_DEADLINE_S, self._end_unless_asked)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._first_due is not None:
            self._first_due.cancel()
        if self._left is not None and not self._left.done():
            self._left.set_result(None)
        super().connection_lost(exc)

    def _end_unless_asked(self) -> None:
        if not self._request_count:
            self.force_close()

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        if self._leaving.is_set():
            resp.force_close()
        finishing = super().finish_response(request, resp, start_time)
        return self._linger_after(finishing) if self._unreadable else finishing

    async def _linger_after(
        self, finishing: Coroutine[Any, Any, tuple[web.StreamResponse, bool]]
    ) -> tuple[web.StreamResponse, bool]:
        """Reads and drops until the client has left."""
        finished = await finishing
        self.close()
        if self.transport is not None:
            self.transport.write_eof()
            self._left = self._loop.create_future()
            await asyncio.wait([self._left], timeout=LINGER_S)
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        self._unreadable = message is not None
        return super().handle_error(request, status, exc, "bad request" if message else None)


class BareConnection(Connection):
    """Calls its handler in one task for all requests of the connection, one after the other.

    aiohttp makes a task for each, so that they share no context variables; a bare handler sets none. From
    Python 3.12 on such a task costs next to nothing, before that it was a twentieth of a webhook.
    """

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if sys.version_info < (3, 12):
            # the task of the connection is made by now; what comes is awaited where it is made
            self._loop = cast("asyncio.AbstractEventLoop", _InOneTask(self._loop))


class _InOneTask:
    """A loop for aiohttp's `RequestHandler.start`, whose tasks are the bare coroutines."""

    __slots__ = ("_loop", "call_at", "create_future", "time")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # what each request needs is found at once, all else is asked for by name
        self.call_at = loop.call_at
        self.create_future = loop.create_future
        self.time = loop.time

    def create_task(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
