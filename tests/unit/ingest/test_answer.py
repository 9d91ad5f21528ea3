"""The answer in one piece, beside aiohttp's own of the same document."""

import asyncio
from uuid import UUID

import pytest
from aiohttp import web

from ingest.answer import Accepted
from runtime.operations import Listener, json_response, serve_http

DEADLINE_S = 10.0
ANSWER = {"success": True, "signal_id": UUID(int=7)}
UNIX_S = 1_767_607_265
DATE = "Date: Mon, 05 Jan 2026 10:01:05 GMT"


async def ask(handler: object, head: str, *, reads: int = 1) -> list[bytes]:
    """What comes back for the same request, sent `reads` times; empty: the connection was closed."""
    async with serve_http(handler, Listener("127.0.0.1", 0)) as port, asyncio.timeout(DEADLINE_S):  # type: ignore[arg-type]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for _ in range(reads):
            writer.write(head.encode())
            answers.append(await read_answer(reader))
        writer.close()
    return answers


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    return head + await reader.readexactly(int(length.split()[1]))


async def accepted(_request: web.BaseRequest) -> web.StreamResponse:
    return Accepted(ANSWER, UNIX_S)


async def slow(_request: web.BaseRequest) -> web.StreamResponse:
    return json_response(ANSWER)


def lines(answer: bytes) -> list[str]:
    head, _, body = answer.decode().partition("\r\n\r\n")
    dated = [line for line in head.split("\r\n") if not line.startswith("Date: ")]
    return [dated[0], *sorted(dated[1:]), body]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("connection", ["", "Connection: close\r\n", "Connection: keep-alive\r\n"])
async def test_the_answer_is_that_of_aiohttp(version: str, connection: str) -> None:
    """Line for line, its order and date aside, and the connection lives as long."""
    head = f"POST / HTTP/{version}\r\nHost: test\r\n{connection}Content-Length: 0\r\n\r\n"
    ours, theirs = await ask(accepted, head, reads=2), await ask(slow, head, reads=2)
    assert [lines(answer) for answer in ours] == [lines(answer) for answer in theirs]


async def test_the_date_is_the_one_given() -> None:
    """RFC 9110 §6.6.1: in GMT, to the second."""
    [answer] = await ask(accepted, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
    assert DATE in answer.decode().split("\r\n")


async def test_an_answer_can_end_its_connection() -> None:
    """As when the process is leaving."""

    async def closing(_request: web.BaseRequest) -> web.StreamResponse:
        answer = Accepted(ANSWER, UNIX_S)
        answer.force_close()
        return answer

    head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
    first, second = await ask(closing, head, reads=2)
    assert "Connection: close" in first.decode().split("\r\n")
    assert second == b""
