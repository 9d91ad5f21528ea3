"""Many requests over kept connections, each sent when the one before it on its connection is answered."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from tests.support.http import ANSWER_DEADLINE_S

_STATUS = slice(9, 12)
_LENGTH = b"content-length: "


class _Connection(asyncio.Protocol):
    """Takes requests until there are none; `ended` tells then, or that the server closed."""

    def __init__(self, requests: Iterator[bytes], statuses: Counter[int]) -> None:
        self._requests = requests
        self._statuses = statuses
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send_next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
        if len(rest) < int(length):
            return
        self._buffer = b""
        self._statuses[int(head[_STATUS])] += 1
        self._send_next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionResetError("closed by the server"))

    def _send_next(self) -> None:
        assert self._transport is not None
        following = next(self._requests, None)
        if following is not None:
            self._transport.write(following)
        elif not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()


async def send_all(port: int, requests: Iterator[bytes], connections: int) -> Counter[int]:
    """How many answers had which status, once every request has its answer.

    Raises `TimeoutError` when no answer comes any more, `OSError` when the server closes a connection.
    """
    statuses: Counter[int] = Counter()
    loop = asyncio.get_running_loop()
    senders = [
        (await loop.create_connection(lambda: _Connection(requests, statuses), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    waiting = {sender.ended for sender in senders}
    seen = -1
    while waiting:
        if statuses.total() == seen:
            raise TimeoutError(f"stuck after {seen} answers")
        seen = statuses.total()
        _ended, waiting = await asyncio.wait(waiting, timeout=ANSWER_DEADLINE_S)
    await asyncio.gather(*(sender.ended for sender in senders))
    return statuses
