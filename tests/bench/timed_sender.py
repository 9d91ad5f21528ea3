"""Alerts of many tenants in an open loop: for each when it was due, when answered, and its signal's id.

`python -m tests.bench.timed_sender` reads a JSON `Course` and prints a JSON list of `Sent`. Alerts fall due
whether or not answers come: a slow server is not asked less, and waiting for a connection counts.
"""

import asyncio
import sys
import time
from collections import deque
from itertools import cycle

import msgspec

_TICK_S = 0.0005
_DRAIN_S = 60


class Course(msgspec.Struct, frozen=True):
    """Tenants are served in turn, each by its own path."""

    port: int
    paths: list[str]
    connections: int
    body: str
    rate_per_s: float
    seconds: float


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """In Unix seconds. `signal_id` is empty for an alert that was not accepted."""

    due_s: float
    answered_s: float
    signal_id: str


class Answer(msgspec.Struct):
    signal_id: str = ""


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._due_s = 0.0
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, due_s: float, request: bytes) -> None:
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length_at = head.lower().index(b"content-length: ") + 16
        if len(body) < int(head[length_at:].partition(b"\r\n")[0]):
            return
        self._buffer = b""
        accepted = head[9:12] == b"200"
        signal_id = msgspec.json.decode(body, type=Answer).signal_id if accepted else ""
        self._sender.answered(self, Sent(self._due_s, time.time(), signal_id))  # noqa: TID251 - as records have it


class Sender:
    def __init__(self, course: Course) -> None:
        self._course = course
        self._sent: list[Sent] = []
        self._idle: deque[Connection] = deque()
        self._waiting: deque[tuple[float, bytes]] = deque()
        body = course.body.encode()
        head = "POST {} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n"
        self._requests = cycle([head.format(path, len(body)).encode() + body for path in course.paths])

    async def run(self) -> list[Sent]:
        loop = asyncio.get_running_loop()
        for _ in range(self._course.connections):
            address = ("127.0.0.1", self._course.port)
            _transport, connection = await loop.create_connection(lambda: Connection(self), *address)
            self._idle.append(connection)
        total = int(self._course.rate_per_s * self._course.seconds)
        await self._pace(total)
        async with asyncio.timeout(_DRAIN_S):
            while len(self._sent) < total:  # noqa: ASYNC110 - once, at the end
                await asyncio.sleep(0.01)
        return self._sent

    def answered(self, connection: Connection, sent: Sent) -> None:
        self._sent.append(sent)
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    async def _pace(self, total: int) -> None:
        began_s, number = time.time(), 0  # noqa: TID251 - compared with times that other processes noted
        while number < total:
            now_s = time.time()  # noqa: TID251 - likewise
            while number < total and (due_s := began_s + number / self._course.rate_per_s) <= now_s:
                number += 1
                self._send(due_s, next(self._requests))
            await asyncio.sleep(_TICK_S)

    def _send(self, due_s: float, request: bytes) -> None:
        if self._idle:
            self._idle.popleft().send(due_s, request)
        else:
            self._waiting.append((due_s, request))


if __name__ == "__main__":
    course = msgspec.json.decode(sys.stdin.buffer.read(), type=Course)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(Sender(course).run())))
