"""A TCP proxy whose server a test takes away and brings back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536


class CutProxy:
    """Passes bytes both ways until `cut`, which ends all connections; new ones are reset until `restore`."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._away = False
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        self._away = True
        for writer in list(self._open):
            writer.transport.abort()

    def restore(self) -> None:
        self._away = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(*self._upstream)
            self._open |= {writer, there_writer}
            ways = asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))
            try:
                await ways
            finally:
                ways.cancel()
                self._open -= {writer, there_writer}
                there_writer.transport.abort()
        writer.transport.abort()


@asynccontextmanager
async def cut_proxy(url: str) -> AsyncIterator[tuple[CutProxy, str]]:
    """A proxy before the server of the URL, and the URL that leads through it."""
    parts = urlsplit(url)
    proxy = CutProxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, url.replace(f":{parts.port}", f":{port}")
    finally:
        server.close()
        proxy.cut()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends, with both directions, at the end of either."""
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError
