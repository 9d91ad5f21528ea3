"""A TCP proxy whose server a test takes away and brings back."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class CutProxy:
    """Passes bytes both ways until `cut`, which ends all connections; new ones are reset until `restore`."""

    def __init__(self, url: str) -> None:
        self._upstream = address_in(url)
        self._away = False
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        self._away = True
        for writer in list(self._open):
            writer.transport.abort()

    def reset(self) -> None:
        """End all connections as the kernel does for a killed server that had not read everything."""
        for writer in list(self._open):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def restore(self) -> None:
        self._away = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
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


@asynccontextmanager
async def cut_proxy(url: str) -> AsyncIterator[tuple[CutProxy, str]]:
    """A proxy before the server of the URL, and the URL that leads through it."""
    proxy = CutProxy(url)
    async with proxied(url, proxy.serve) as through:
        yield proxy, through


@asynccontextmanager
async def proxied(url: str, serve: Serve) -> AsyncIterator[str]:
    """The URL with the address of a listener that serves each client, and resets it at the end of that."""
    serving: set[asyncio.Task[None]] = set()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(attend(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    _host, port = address_in(url)
    try:
        yield url.replace(f":{port}", f":{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def address_in(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends, with both directions, at the end of either."""
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError
