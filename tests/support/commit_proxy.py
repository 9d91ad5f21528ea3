"""A TCP proxy before Postgres that breaks connections in the middle of a commit."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from itertools import cycle
from typing import Final

from tests.support.proxy import CHUNK_BYTES, address_in, proxied

# simple queries, each sent alone since its answer is waited for
_BEGIN: Final = b"Q\x00\x00\x00\x0bBEGIN;\x00"
_COMMIT: Final = b"Q\x00\x00\x00\x0cCOMMIT;\x00"
_COMMITTED: Final = b"COMMIT\x00"


class Cut(StrEnum):
    """Where the connection breaks. The client learns the same from each: nothing."""

    BEFORE = "the server never got it"
    UNDERWAY = "nobody knows"
    AFTER = "the server did it, its answer is lost"


class CommitProxy:
    """While `cutting`, every other commit of a transaction whose statements held `mark` is cut."""

    def __init__(self, url: str, mark: bytes) -> None:
        self.cutting = True
        self.cuts: Counter[Cut] = Counter()
        self._upstream = address_in(url)
        self._mark = mark
        self._ways = cycle(Cut)
        self._spared = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(*self._upstream)
            back = asyncio.ensure_future(_pass(there_reader, writer))
            try:
                cut = await self._pass_until_cut(reader, there_writer, back)
                if cut is Cut.AFTER:
                    assert _COMMITTED in await there_reader.read(CHUNK_BYTES)
                if cut is not None:
                    self.cuts[cut] += 1
            finally:
                back.cancel()
                there_writer.transport.abort()

    async def _pass_until_cut(
        self, reader: asyncio.StreamReader, there: asyncio.StreamWriter, back: "asyncio.Future[None]"
    ) -> Cut | None:
        marked = False
        while chunk := await reader.read(CHUNK_BYTES):
            marked = self._mark in chunk or (marked and chunk != _BEGIN)
            cut = self._cut_now() if marked and chunk == _COMMIT else None
            if cut is Cut.AFTER:
                back.cancel()
                await asyncio.wait([back])
            if cut is not Cut.BEFORE:
                there.write(chunk)
                await there.drain()
            if cut is not None:
                return cut
        return None

    def _cut_now(self) -> Cut | None:
        self._spared = not self._spared
        return None if self._spared or not self.cutting else next(self._ways)


@asynccontextmanager
async def commit_proxy(url: str, mark: bytes) -> AsyncIterator[tuple[CommitProxy, str]]:
    """A proxy before the server of the URL, and the URL that leads through it."""
    proxy = CommitProxy(url, mark)
    async with proxied(url, proxy.serve) as through:
        yield proxy, through


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()
