"""DevTools over a pipe for pyppeteer's `Browser` and `Page`: flat sessions that one failure cannot take down.

pyppeteer's own connection dies with the first late reply to a cancelled command, the first exception in a
listener and the first crashed page, and takes every page of the browser with it. Here each of these stays
where it happened, and every command has a deadline. pyppeteer is untyped: this module is the seam.
"""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pyee import EventEmitter
from pyppeteer.connection import CDPSession

from capture.errors import (
    BrowserGoneError,
    CommandDeadlineError,
    CommandError,
    CommandRefusedError,
    TargetGoneError,
)
from capture.strays import TaskLoop
from runtime.errors import FatalError
from runtime.logging import get_logger

COMMAND_DEADLINE_S: Final = 10.0

Parameters = dict[str, Any]

log = get_logger(__name__)


@dataclass(slots=True)
class _Command:
    method: str
    session_id: str | None
    reply: "asyncio.Future[Any]"
    timer: asyncio.TimerHandle


class _ContainedEmitter(EventEmitter):  # type: ignore[misc]  # pyee is skipped by mypy, as all untyped libraries
    """An emitter whose listeners cannot hurt each other or whoever emits."""

    def _emit_run(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: Parameters) -> None:
        try:
            f(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a listener's fault ends with the listener
            log.warning("browser_listener_failed", error=type(error).__name__)


class FlatSession(_ContainedEmitter, CDPSession):  # type: ignore[misc]  # likewise
    """A page's session. Commands travel on the connection, marked with the session's id."""

    _gone: type[CommandError] = TargetGoneError

    def send(
        self, method: str, params: Parameters | None = None, deadline_s: float = COMMAND_DEADLINE_S
    ) -> "asyncio.Future[Any]":
        """The reply, later. Fails with a `CommandError`; dropping or cancelling it is harmless."""
        if self._connection is None:
            raise self._gone(f"{method}: no longer there to answer")
        reply: asyncio.Future[Any] = self._connection.issue(method, params, self._sessionId, deadline_s)
        return reply

    def tell(self, method: str, params: Parameters) -> None:
        """Send without interest in the reply, and without complaint when the page is gone."""
        if self._connection is not None:
            self.send(method, params).cancel()

    async def detach(self) -> None:
        if self._connection is not None:
            await self._connection.send("Target.detachFromTarget", {"sessionId": self._sessionId})

    def end(self, gone: type[CommandError]) -> None:
        """Later commands fail with `gone`; whoever listens to `detached` is told it."""
        self._connection = None
        self._gone = gone
        self.emit("detached", gone)


class PipeConnection(_ContainedEmitter):
    """The browser's end of DevTools. One per browser; ends with the browser's end of the pipe.

    `closed` is set, and emitted, once nothing can come any more; all commands then fail with
    `BrowserGoneError`.
    """

    url: Final = "pipe:"

    def __init__(self) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.closed = asyncio.Event()
        self.tasks = TaskLoop(loop)
        self._loop = self.tasks
        self._call_later = loop.call_later
        self._sessions: dict[str, FlatSession] = {}
        self._commands: dict[int, _Command] = {}
        self._last_id = 0
        self._writer: asyncio.WriteTransport | None = None
        self._reader: asyncio.BaseTransport | None = None
        self._replies = _Replies(self._received, self.close)
        self._closed_callback: Callable[[], None] | None = None

    async def open(self, commands_fd: int, replies_fd: int) -> None:
        """Take over both descriptors. Raises `FatalError` on a loop that would close them twice."""
        loop = asyncio.get_running_loop()
        if type(loop).__module__.startswith("uvloop"):
            raise FatalError("uvloop closes pipes twice")
        # files before the first await: whoever ends it there leaves nothing open
        commands, replies = os.fdopen(commands_fd, "wb", 0), os.fdopen(replies_fd, "rb", 0)
        self._writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, commands)
        self._reader, _ = await loop.connect_read_pipe(lambda: self._replies, replies)

    def send(
        self, method: str, params: Parameters | None = None, deadline_s: float = COMMAND_DEADLINE_S
    ) -> "asyncio.Future[Any]":
        """As `FlatSession.send`, to the browser itself."""
        return self.issue(method, params, None, deadline_s)

    def tell(self, method: str, params: Parameters) -> None:
        """As `FlatSession.tell`, to the browser itself."""
        if not self.closed.is_set():
            self.send(method, params).cancel()

    def issue(
        self, method: str, params: Parameters | None, session_id: str | None, deadline_s: float
    ) -> "asyncio.Future[Any]":
        if self.closed.is_set() or self._writer is None:
            raise BrowserGoneError(f"{method}: the browser is gone")
        self._last_id += 1
        number = self._last_id
        message = {"id": number, "method": method, "params": params or {}}
        if session_id is not None:
            message["sessionId"] = session_id
        reply = self.tasks.create_future()
        # pyppeteer drops many replies; their errors must not be reported as never retrieved
        reply.add_done_callback(_retrieve)
        timer = self._call_later(deadline_s, self._expire, number)
        self._commands[number] = _Command(method, session_id, reply, timer)
        self._writer.write(orjson.dumps(message) + b"\0")
        return reply

    async def createSession(self, targetInfo: Parameters) -> FlatSession:  # noqa: N802, N803 - pyppeteer's names
        answer = await self.send(
            "Target.attachToTarget", {"targetId": targetInfo["targetId"], "flatten": True}
        )
        session = FlatSession(self, targetInfo["type"], answer["sessionId"], self.tasks)
        self._sessions[answer["sessionId"]] = session
        return session

    def setClosedCallback(self, callback: Callable[[], None]) -> None:  # noqa: N802 - pyppeteer's name
        self._closed_callback = callback

    async def dispose(self) -> None:
        self.close()

    def close(self) -> None:
        """Fail whatever is pending and let go of the pipe. Idempotent."""
        if self.closed.is_set():
            return
        self.closed.set()
        if self._writer is not None and not self._writer.is_closing():
            self._writer.abort()
        if self._reader is not None and not self._reader.is_closing():
            self._reader.close()
        self._fail(lambda _command: True, BrowserGoneError)
        for session_id in list(self._sessions):
            self._forget(session_id)
        if self._closed_callback is not None:
            self._closed_callback()
        self.emit("closed")
        self.tasks.cancel_all()

    def _received(self, data: bytes) -> None:
        message = _decode(data)
        if message is None:
            return
        if "id" in message:
            self._settle(message)
        else:
            self._dispatch(message)

    def _settle(self, message: Parameters) -> None:
        command = self._commands.pop(message["id"], None)
        if command is None:
            return
        command.timer.cancel()
        if command.reply.done():
            return
        if "error" in message:
            detail = message["error"].get("message", "")
            command.reply.set_exception(CommandRefusedError(f"{command.method}: {detail}"))
        else:
            command.reply.set_result(message.get("result"))

    def _dispatch(self, message: Parameters) -> None:
        method, params, session_id = message["method"], message.get("params", {}), message.get("sessionId")
        if method == "Target.detachedFromTarget":
            self._forget(params.get("sessionId"))
        elif method == "Inspector.targetCrashed":
            self._fail(lambda command: command.session_id == session_id, TargetGoneError)
        emitter = self._sessions.get(session_id) if session_id else self
        if emitter is not None:
            emitter.emit(method, params)

    def _forget(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._fail(lambda command: command.session_id == session_id, TargetGoneError)
            session.end(BrowserGoneError if self.closed.is_set() else TargetGoneError)

    def _expire(self, number: int) -> None:
        command = self._commands.pop(number, None)
        if command is not None and not command.reply.done():
            command.reply.set_exception(CommandDeadlineError(f"{command.method}: no answer in time"))

    def _fail(self, concerns: Callable[[_Command], bool], error: type[CommandError]) -> None:
        for number in [number for number, command in self._commands.items() if concerns(command)]:
            command = self._commands.pop(number)
            command.timer.cancel()
            if not command.reply.done():
                command.reply.set_exception(error(f"{command.method}: no longer there to answer"))


class _Replies(asyncio.Protocol):
    """Splits what the browser writes at its NUL bytes."""

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        start = len(self._buffer)
        self._buffer += data
        # only the new part can hold the end of a message
        while (end := self._buffer.find(0, start)) >= 0:
            message = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            start = 0
            self._received(message)

    def connection_lost(self, _error: Exception | None) -> None:
        self._lost()


def _decode(data: bytes) -> Parameters | None:
    try:
        message: Parameters = orjson.loads(data)
    except orjson.JSONDecodeError:
        # pages may log lone surrogates, which only the standard library's reader takes
        try:
            message = json.loads(data)
        except ValueError:
            log.warning("browser_message_unreadable", size_bytes=len(data))
            return None
    return message


def _retrieve(reply: "asyncio.Future[Any]") -> None:
    if not reply.cancelled():
        reply.exception()
