"""Connections of a bare handler: one task for all its requests, and nothing else different for that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from runtime.operations import BareHandler, Listener, json_response, serve_http

LOCAL = Listener("127.0.0.1", 0)
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

Handle = Callable[[Any], Awaitable[web.StreamResponse]]


def application(handle: Handle) -> web.Application:
    app = web.Application()
    app.router.add_post("/", handle)
    return app


def bare(handle: Handle) -> BareHandler:
    return handle


BOTH = pytest.mark.parametrize("kind", [application, bare])


async def send_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"and more")
        await writer.drain()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(app: web.Application | BareHandler) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(5)
    async with (
        serve_http(app, LOCAL) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session,
    ):
        yield session


@pytest.mark.parametrize(("kind", "tasks"), [(application, 2), (bare, 1)])
async def test_a_bare_handler_works_in_the_task_of_its_connection(
    kind: Callable[[Handle], web.Application | BareHandler], tasks: int
) -> None:
    """An application's handlers have a task for each request, as aiohttp means it."""
    seen: list[asyncio.Task[Any] | None] = []

    async def note_task(_request: web.BaseRequest) -> web.StreamResponse:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        return json_response({})

    async with serving(kind(note_task)) as session:
        for _ in range(2):
            async with session.post("/") as answer:
                assert answer.status == 200
    assert len(set(seen)) == tasks


@BOTH
async def test_a_deadline_inside_of_a_handler_ends_only_what_it_is_for(
    kind: Callable[[Handle], web.Application | BareHandler],
) -> None:
    """The request goes on behind it, and so does the connection."""

    async def impatient(_request: web.BaseRequest) -> web.StreamResponse:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            await asyncio.sleep(0.01)
            return json_response({"late": True})
        return json_response({"late": False})

    async with serving(kind(impatient)) as session:
        for _ in range(2):
            async with session.post("/") as answer:
                assert await answer.json() == {"late": True}
        assert session.connector is not None
        assert len(session.connector._conns) == 1


@BOTH
async def test_a_handler_goes_on_when_its_client_has_left(
    kind: Callable[[Handle], web.Application | BareHandler],
) -> None:
    """What was begun for an alert is finished, whether or not anybody waits for the answer."""
    begun, left, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def thorough(_request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await left.wait()
        await asyncio.sleep(0.05)
        finished.set()
        return json_response({})

    async with serve_http(kind(thorough), LOCAL) as port, asyncio.timeout(5):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await begun.wait()
        writer.transport.abort()
        left.set()
        await finished.wait()


@BOTH
async def test_a_handler_that_fails_is_answered_and_the_next_call_too(
    kind: Callable[[Handle], web.Application | BareHandler], caplog: pytest.LogCaptureFixture
) -> None:
    """The error ends its request, not what serves the connection."""
    calls: list[int] = []

    async def fails_once(_request: web.BaseRequest) -> web.StreamResponse:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("told to fail")
        return json_response({})

    async with serving(kind(fails_once)) as session:
        async with session.post("/") as answer:
            assert answer.status == 500
        async with session.post("/") as answer:
            assert answer.status == 200
    assert "Error handling request" in caplog.text


@BOTH
async def test_a_client_that_sends_on_gets_its_answer_all_the_same(
    kind: Callable[[Handle], web.Application | BareHandler],
) -> None:
    """Closed with something unread, a connection is reset, and what was answered may be lost."""

    async def never(_request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("this is no request")

    async with serve_http(kind(never), LOCAL) as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 2_000_000)
        await writer.drain()
        assert b" 400 " in (await reader.read()).partition(b"\r\n")[0]
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_neither_reads_nor_leaves_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; a connection that says nothing more would use up the process's files."""
    monkeypatch.setattr("runtime.connections.LINGER_S", 0.05)

    async def never(_request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("this is no request")

    async with serve_http(never, LOCAL) as port, asyncio.timeout(5):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"no HTTP\r\n\r\n")
        with pytest.raises(ConnectionError):
            await send_on(writer)
        writer.close()


@BOTH
async def test_pipelined_calls_are_answered_in_their_order(
    kind: Callable[[Handle], web.Application | BareHandler],
) -> None:
    """However long each takes, one after the other."""
    running = most = 0

    async def slower_first(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05 if request.headers["number"] == "0" else 0)
        running -= 1
        return json_response({"number": request.headers["number"]})

    async with serve_http(kind(slower_first), LOCAL) as port, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        requests = [REQUEST.replace(b"Host: x", b"Host: x\r\nnumber: %d" % number) for number in range(3)]
        writer.write(b"".join(requests))
        for number in range(3):
            await reader.readuntil(b'{"number":"%d"}' % number)
        writer.close()
    assert most == 1
