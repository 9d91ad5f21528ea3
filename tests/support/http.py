"""HTTP over a bare socket, for what a well-behaved client never sends."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

ANSWER_DEADLINE_S = 15


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as the client sees it; the names of headers are in lower case."""

    version: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def undated(self) -> "Answer":
        """To compare answers given at different times."""
        headers = {name: value for name, value in self.headers.items() if name != "date"}
        return Answer(self.version, self.status, headers, self.body)


def request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 request that asks to close; `_` in the names of headers stands for `-`."""
    lines = {"Host": "alerts.test", "Connection": "close", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


async def exchange(port: int, sent: bytes) -> Answer:
    """Send the bytes as they are and read one answer, whether or not the server closes then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            return await read_answer(reader, has_body=not sent.startswith(b"HEAD "))
    finally:
        writer.close()


async def post(port: int, target: str, body: bytes = b"", **headers: str) -> Answer:
    return await exchange(port, request("POST", target, body, **headers))


async def read_answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> Answer:
    """The next answer, interim ones included. `KeyError` when it does not tell the length of its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    version, status, _reason = first.split(" ", 2)
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    interim = status.startswith("1")
    body = await reader.readexactly(int(headers["content-length"])) if has_body and not interim else b""
    return Answer(version, int(status), headers, body)
