"""The HTTP server of a process over real sockets."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from runtime.errors import TransientError
from runtime.metrics import create_metrics
from runtime.operations import Listener, json_response, serve_http, serve_operations
from runtime.readiness import Readiness
from runtime.settings import OperationsSettings, load_section

SETTINGS = load_section(OperationsSettings, {})


@asynccontextmanager
async def client(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


async def exchange(port: int, request: bytes) -> bytes:
    """The whole answer to raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_health_is_about_the_process_alone() -> None:
    """Alive is alive, also while a dependency is away: a restart would cure nothing."""
    readiness = Readiness()
    readiness.add("database", away)
    async with (
        serve_operations(SETTINGS, readiness, create_metrics()) as port,
        client(port) as session,
        session.get("/health") as answer,
    ):
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        assert answer.headers["Cache-Control"] == "no-store"


async def away() -> None:
    raise TransientError("postgresql://alerts:s3cr3t@db")


async def test_ready_names_what_is_missing_and_no_more() -> None:
    """503 with the failing checks by name; addresses and secrets stay inside."""
    readiness = Readiness()
    async with serve_operations(SETTINGS, readiness, create_metrics()) as port, client(port) as session:
        async with session.get("/ready") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ready", "failing": {}})
        readiness.add("database", away)
        async with session.get("/ready") as answer:
            text = await answer.text()
            assert answer.status == 503
            assert (await answer.json())["failing"] == {"database": "TransientError"}
            assert "s3cr3t" not in text


async def test_metrics_are_scraped() -> None:
    """In the text format, with what this process counted."""
    metrics = create_metrics()
    metrics.spool_puts.labels("stored").inc()
    async with (
        serve_operations(SETTINGS, Readiness(), metrics) as port,
        client(port) as session,
        session.get("/metrics") as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert 'alerts_spool_puts_total{outcome="stored"} 1.0' in await answer.text()


async def test_a_taken_port_is_an_error_at_start() -> None:
    """Two processes never share an operations port by mistake."""
    async with serve_operations(SETTINGS, Readiness(), create_metrics()) as port:
        taken = load_section(OperationsSettings, {"OPERATIONS_PORT": str(port)})
        with pytest.raises(OSError, match="address already in use") as caught:
            async with serve_operations(taken, Readiness(), create_metrics()):
                pytest.fail("two servers on one port")
        assert caught.value.errno == errno.EADDRINUSE


async def test_a_request_in_progress_is_finished_on_the_way_out() -> None:
    """New connections are refused first, and who is being served gets the answer."""
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        arrived.set()
        await leave.wait()
        return json_response({"done": True})

    app = web.Application()
    app.router.add_get("/", slow)
    async with asyncio.TaskGroup() as group:
        async with serve_http(app, Listener("127.0.0.1", 0)) as port:
            request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            answer = group.create_task(exchange(port, request))
            await arrived.wait()
            asyncio.get_running_loop().call_soon(leave.set)
        assert b'{"done":true}' in await answer
        with pytest.raises(ConnectionRefusedError):
            await exchange(port, request)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /webhook/u/s3cr3t HTTP/9.x\r\n\r\n",
        b"POST /webhook/u/s3cr3t HTTP/1.1\r\nContent-Length: nonsense\r\n\r\n",
        b"s3cr3t\x00\x01\r\n\r\n",
        b"GET /webhook/u/s3cr3t" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["version", "length", "garbage", "long"],
)
async def test_what_is_no_http_is_refused_without_an_echo(request_bytes: bytes) -> None:
    """The request line holds a token, and an error page ends up in other people's logs."""
    async with serve_http(web.Application(), Listener("127.0.0.1", 0)) as port:
        answer = await exchange(port, request_bytes)
    assert answer.startswith(b"HTTP/1.")
    assert b" 400 " in answer.splitlines()[0]
    assert b"s3cr3t" not in answer


async def test_a_body_is_kept_as_it_came() -> None:
    """Also one that calls itself compressed: nothing is unpacked on the way in."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_post("/", echo)
    async with serve_http(app, Listener("127.0.0.1", 0)) as port, client(port) as session:
        headers = {"Content-Encoding": "gzip"}
        async with session.post("/", data=b"not gzip at all", headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, b"not gzip at all")


@pytest.mark.parametrize("sent", [b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_first_request_that_does_not_come_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Connections that say nothing would use up the process's files."""
    monkeypatch.setattr("runtime.connections.HEAD_DEADLINE_S", 0.05)
    async with serve_http(web.Application(), Listener("127.0.0.1", 0)) as port:
        assert await exchange(port, sent) == b""


async def test_a_request_in_time_keeps_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is for the first head only: a slow answer, and a pause after it, are no fault."""
    monkeypatch.setattr("runtime.connections.HEAD_DEADLINE_S", 0.05)

    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return json_response({})

    app = web.Application()
    app.router.add_get("/", slow)
    async with serve_http(app, Listener("127.0.0.1", 0)) as port, client(port) as session:
        for _ in range(2):
            async with session.get("/") as answer:
                assert answer.status == 200
            await asyncio.sleep(0.1)
        assert session.connector is not None
        assert len(session.connector._conns) == 1
