"""Clients that speak odd HTTP to the ingress over a real socket: each gets an answer that is laid down."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest
import pytest_asyncio

from ingest.webhook import MAX_BODY_BYTES
from tests.support.http import ANSWER_DEADLINE_S, Answer, post, read_answer, request
from tests.support.ingress import Ingress, scripted_ingress
from tests.support.tenants import Customer, new_customer
from tests.support.waiting import eventually

READ_DEADLINE_S = 0.3
MANY = 50
ESTABLISHED = "01"
UNKNOWN_PATH = f"/webhook/u/{'x' * 32}"
AB = "Content-Length: 2\r\n\r\nab"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Talk:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, sent: bytes) -> None:
        self.writer.write(sent)

    async def answer(self, *, has_body: bool = True) -> Answer:
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            return await read_answer(self.reader, has_body=has_body)

    async def final(self) -> Answer:
        """The next answer that is not 100: one whose body came already need not be asked for it."""
        answer = await self.answer()
        return await self.answer() if answer.status == HTTPStatus.CONTINUE else answer

    async def statuses(self, count: int) -> list[int]:
        return [(await self.final()).status for _ in range(count)]

    async def until_closed(self) -> bytes:
        """What comes before the other side closes."""
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            return await self.reader.read()

    def reset(self) -> None:
        """End it the rude way, without a goodbye."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def talk_to(port: int) -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Talk(reader, writer)
    finally:
        writer.close()


@dataclass(frozen=True, slots=True)
class Scene:
    """An ingress and one tenant whose own the call is meant to be."""

    ingress: Ingress
    customer: Customer

    @property
    def port(self) -> int:
        return self.ingress.port

    @property
    def kept(self) -> list[bytes]:
        """Bodies that were made durable."""
        return [message.value for message in self.ingress.delivery.delivered]

    def bytes_of(self, template: str) -> bytes:
        """`@` stands for the target of the tenant's webhook, `^` for the start of a right request."""
        right = "POST @ HTTP/1.1\r\nHost: x\r\n"
        return template.replace("^", right).replace("@", self.customer.path).encode("latin-1")

    async def assert_goes_on(self) -> None:
        """An ordinary call is accepted, and no call so far was answered 500."""
        assert (await post(self.port, self.customer.path, b"next")).status == 200
        assert self.ingress.delivery.delivered.pop().value == b"next"
        registry = self.ingress.metrics.registry
        assert registry.get_sample_value("alerts_webhook_seconds_count", {"outcome": "500"}) is None


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    async with scripted_ingress(read_deadline_s=READ_DEADLINE_S) as ingress:
        customer = new_customer()
        ingress.knows(customer)
        yield Scene(ingress, customer)


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent in one segment, see `Scene.bytes_of`, and what becomes of it."""

    sent: str
    statuses: tuple[int, ...] = (200,)
    kept: tuple[bytes, ...] = (b"ab",)


def refused(sent: str, *statuses: int) -> Case:
    return Case(sent, statuses, ())


GOES_ON = {
    "pipelined": Case("^Content-Length: 1\r\n\r\n1^Content-Length: 1\r\n\r\n2", (200, 200), (b"1", b"2")),
    "pipelined with chunks": Case(f"^{CHUNKED}1\r\n1\r\n0\r\n\r\n^{AB}", (200, 200), (b"1", b"ab")),
    "pipelined, some refused": Case(
        f"^{AB}POST {UNKNOWN_PATH} HTTP/1.1\r\nHost: x\r\n{AB}GET @ HTTP/1.1\r\nHost: x\r\n\r\n^{AB}",
        (200, 404, 405, 200),
        (b"ab", b"ab"),
    ),
    "waits to be asked": Case(f"^Expect: 100-continue\r\n{AB}"),
    "waits, unknown": refused(
        f"POST {UNKNOWN_PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{AB}", 404
    ),
    "HTTP/1.0 kept alive": Case(f"POST @ HTTP/1.0\r\nConnection: keep-alive\r\n{AB}"),
    "trailers": Case(f"^{CHUNKED}2\r\nab\r\n0\r\nX-Trailer: 1\r\n\r\n"),
    "chunk extensions": Case(f"^{CHUNKED}1;a=b\r\na\r\n1;c\r\nb\r\n0;d=e\r\n\r\n"),
    "leading zeros of a chunk": Case(f"^{CHUNKED}0002\r\nab\r\n0\r\n\r\n"),
    "no chunks": Case(f"^{CHUNKED}0\r\n\r\n", kept=(b"",)),
    "empty lines before": Case(f"\r\n\r\n^{AB}"),
    "a host that is none": Case(f"POST @ HTTP/1.1\r\nHost: [::x\r\n{AB}"),
    "bytes beyond ASCII in a header": Case(f"^User-Agent: \xff\xfe\r\n{AB}"),
    "charset nobody knows": Case(f"^Content-Type: text/plain; charset=\xff\r\n{AB}"),
    "charset that does not fit": Case(
        "^Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        kept=(b"\xff\xfe",),
    ),
    "content type of nothing": Case(f"^Content-Type: ;;;\r\n{AB}"),
    "form without boundary": Case(f"^Content-Type: multipart/form-data; boundary=\r\n{AB}"),
    "encoding nobody knows": Case(f"^Content-Encoding: nope\r\n{AB}"),
    "upgrade": Case(f"^Connection: Upgrade\r\nUpgrade: websocket\r\n{AB}"),
    "absolute target": Case(f"POST http://other.test@ HTTP/1.1\r\nHost: x\r\n{AB}"),
    "fragment": Case(f"POST @#part HTTP/1.1\r\nHost: x\r\n{AB}"),
    "OPTIONS *": refused("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "GET with a body": refused(f"GET @ HTTP/1.1\r\nHost: x\r\n{AB}", 405),
    "GET with chunks": refused(f"GET @ HTTP/1.1\r\nHost: x\r\n{CHUNKED}2\r\nab\r\n0\r\n\r\n", 405),
    "path with dots": refused(f"POST /x/..@ HTTP/1.1\r\nHost: x\r\n{AB}", 404),
    "escaped slash": refused(f"POST /webhook%2Fu/x HTTP/1.1\r\nHost: x\r\n{AB}", 404),
    "escape that is none": refused(f"POST /webhook/u/%ZZ HTTP/1.1\r\nHost: x\r\n{AB}", 404),
    "expects something else": Case(f"^Expect: tea\r\n{AB}"),
    "100 headers": Case("^" + "".join(f"X-{n}: 1\r\n" for n in range(100)) + AB),
}
"""The connection is as good as before."""

ENDS = {
    "HTTP/1.0": Case(f"POST @ HTTP/1.0\r\n{AB}"),
    "asks to close": Case(f"^Connection: close\r\n{AB}"),
    "chunk longer than announced": refused(f"^{CHUNKED}2\r\nabcdef\r\n0\r\n\r\n", 400),
    "chunk size that is no number": refused(f"^{CHUNKED}zz\r\nab\r\n0\r\n\r\n", 400),
    "negative chunk size": refused(f"^{CHUNKED}-2\r\nab\r\n0\r\n\r\n", 400),
    "endless chunk size": refused(f"^{CHUNKED}{'f' * 17}\r\nab\r\n0\r\n\r\n", 400),
    "transfer encoding alone": refused("^Transfer-Encoding: gzip\r\n\r\nab", 400),
    "body longer than announced": refused("^Content-Length: 1\r\n\r\nabcdef\r\n\r\n", 400),
    "two lengths": refused(f"^Content-Length: 1\r\n{AB}", 400),
    "the same length twice": refused(f"^Content-Length: 2\r\n{AB}", 400),
    "list of lengths": refused("^Content-Length: 2, 2\r\n\r\nab", 400),
    "negative length": refused("^Content-Length: -1\r\n\r\nab", 400),
    "length that is no number": refused("^Content-Length: two\r\n\r\nab", 400),
    "length with a sign": refused("^Content-Length: +2\r\n\r\nab", 400),
    "endless length": refused(f"^Content-Length: {'9' * 20}\r\n\r\nab", 400),
    "length and chunks": refused(f"^Content-Length: 2\r\n{CHUNKED}2\r\nab\r\n0\r\n\r\n", 400),
    "header of 20 KB": refused(f"^X-Long: {'a' * 20_480}\r\n{AB}", 400),
    "target of 20 KB": refused(f"POST @?{'q' * 20_480} HTTP/1.1\r\nHost: x\r\n{AB}", 400),
    "300 headers": refused("^" + "".join(f"X-{n}: 1\r\n" for n in range(300)) + AB, 400),
    "30,000 headers": refused("^" + "".join(f"X-{n}: 1\r\n" for n in range(30_000)) + AB, 400),
    "no host": refused(f"POST @ HTTP/1.1\r\n{AB}", 400),
    "bare line feeds": refused("POST @ HTTP/1.1\nHost: x\nContent-Length: 2\n\nab", 400),
    "bare carriage returns": refused("POST @ HTTP/1.1\rHost: x\r\rab", 400),
    "folded header": refused(f"^X-A: a\r\n b\r\n{AB}", 400),
    "blank before a colon": refused(f"^X-A : a\r\n{AB}", 400),
    "header without a colon": refused(f"^nonsense\r\n{AB}", 400),
    "header without a name": refused(f"^: a\r\n{AB}", 400),
    "NUL in a header": refused(f"^X-A: a\0b\r\n{AB}", 400),
    "two hosts": refused(f"^Host: y\r\n{AB}", 400),
    "two content types": refused(f"^Content-Type: a/b\r\nContent-Type: c/d\r\n{AB}", 400),
    "version nobody knows": refused(f"POST @ HTTP/9.9\r\nHost: x\r\n{AB}", 400),
    "HTTP/2": refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "method in lower case": refused(f"post @ HTTP/1.1\r\nHost: x\r\n{AB}", 400),
    "TLS": refused("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "no HTTP at all": refused("\x00\x01\x02\r\n\r\n", 400),
    "port of a target that is none": refused(
        f"POST http://a.test:99999999@ HTTP/1.1\r\nHost: x\r\n{AB}", 400
    ),
    "POST *": refused(f"POST * HTTP/1.1\r\nHost: x\r\n{AB}", 400),
}
"""The server closes after the last answer."""

UNFINISHED = {
    "chunk shorter than announced": f"^{CHUNKED}9\r\nab\r\n0\r\n\r\n",
    "no last chunk": f"^{CHUNKED}2\r\nab\r\n",
    "no end of trailers": f"^{CHUNKED}2\r\nab\r\n0\r\n",
    "body shorter than announced": "^Content-Length: 9\r\n\r\nab",
    "no body": "^Content-Length: 9\r\n\r\n",
}


@pytest.mark.parametrize("case", GOES_ON.values(), ids=GOES_ON)
async def test_an_odd_call_is_answered_and_the_connection_goes_on(scene: Scene, case: Case) -> None:
    """The answers come in the order of the calls; the next call on the connection is an ordinary one."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of(case.sent))
        assert await talk.statuses(len(case.statuses)) == list(case.statuses)
        talk.send(scene.bytes_of("^Content-Length: 5\r\n\r\nafter"))
        assert (await talk.answer()).status == 200
    assert scene.kept == [*case.kept, b"after"]
    await scene.assert_goes_on()


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
async def test_an_odd_call_is_answered_and_the_connection_ends(scene: Scene, case: Case) -> None:
    """Where one call ends cannot be told, so nothing behind it is taken for a call."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of(case.sent))
        answers = [await talk.answer() for _ in case.statuses]
        assert [answer.status for answer in answers] == list(case.statuses)
        assert await talk.until_closed() == b""
    assert scene.kept == list(case.kept)
    assert scene.customer.token.encode() not in b"".join(answer.body for answer in answers)
    await scene.assert_goes_on()


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
@pytest.mark.parametrize("leaves", [False, True])
async def test_a_body_that_does_not_end_is_not_kept(scene: Scene, sent: str, *, leaves: bool) -> None:
    """Who waits is told to come again at the deadline; who leaves has sent nothing."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of(sent))
        if leaves:
            await talk.writer.drain()
            talk.writer.write_eof()
            await talk.until_closed()
        else:
            answer = await talk.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert scene.kept == []
    await scene.assert_goes_on()


async def test_one_connection_serves_many_calls(scene: Scene) -> None:
    """One after the other, each answered before the next."""
    bodies = [b"%d" % number for number in range(MANY)]
    async with talk_to(scene.port) as talk:
        for body in bodies:
            talk.send(request("POST", scene.customer.path, body, Connection="keep-alive"))
            assert (await talk.answer()).status == 200
    assert scene.kept == bodies
    await scene.assert_goes_on()


async def test_many_calls_in_one_segment_are_answered_in_their_order(scene: Scene) -> None:
    """A sender that does not wait for answers gets each at its place."""
    bodies = [b"%d" % number for number in range(MANY)]
    calls = [request("POST", scene.customer.path, body, Connection="keep-alive") for body in bodies]
    async with talk_to(scene.port) as talk:
        talk.send(b"".join(calls))
        ids = [(await talk.answer()).json["signal_id"] for _ in calls]
    assert scene.kept == bodies
    assert ids == scene.ingress.delivery.ids
    await scene.assert_goes_on()


async def test_head_is_answered_without_a_body(scene: Scene) -> None:
    """The call behind it finds its answer at the right place."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of(f"HEAD @ HTTP/1.1\r\nHost: x\r\n\r\n^{AB}"))
        assert (await talk.answer(has_body=False)).status == 405
        assert (await talk.answer()).status == 200
    assert scene.kept == [b"ab"]


async def test_a_sender_is_asked_before_it_sends(scene: Scene) -> None:
    """100 comes while the sender still holds its body back."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of("^Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"))
        assert (await talk.answer()).status == 100
        talk.send(b"ab")
        assert (await talk.answer()).status == 200
    assert scene.kept == [b"ab"]
    await scene.assert_goes_on()


async def test_a_sender_that_announces_too_much_need_not_send_it(scene: Scene) -> None:
    """413 comes without the body."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of(f"^Expect: 100-continue\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"))
        assert await talk.statuses(1) == [413]
    assert scene.kept == []
    await scene.assert_goes_on()


@pytest.mark.parametrize("escape", ["%{:02X}", "%{:02x}"])
@pytest.mark.parametrize("letters", [1, 32])
async def test_an_escaped_token_is_the_token(scene: Scene, escape: str, letters: int) -> None:
    """As some HTTP clients write letters that need no escape; escaped twice it is another token."""
    token = scene.customer.token
    once = "".join(map(escape.format, token[:letters].encode())) + token[letters:]
    assert (await post(scene.port, f"/webhook/u/{once}", b"ab")).status == 200
    assert scene.kept == [b"ab"]
    assert (await post(scene.port, f"/webhook/u/{once.replace('%', '%25')}", b"ab")).status == 404
    assert scene.kept == [b"ab"]


async def test_a_body_in_single_bytes_is_put_together(customer: Customer) -> None:
    """However small the segments are, within the deadline."""
    async with scripted_ingress(read_deadline_s=ANSWER_DEADLINE_S) as ingress:
        ingress.knows(customer)
        scene = Scene(ingress, customer)
        async with talk_to(scene.port) as talk:
            for number in scene.bytes_of("^Content-Length: 9\r\n\r\nsegmented"):
                talk.send(bytes([number]))
                await talk.writer.drain()
                await asyncio.sleep(0.001)  # or the bytes are sent together
            assert (await talk.answer()).status == 200
        assert scene.kept == [b"segmented"]


async def test_bytes_that_come_too_slowly_are_not_waited_for(scene: Scene) -> None:
    """The deadline is for the whole body: a byte now and then does not put it off."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of("^Content-Length: 100000\r\n\r\n"))
        answering = asyncio.create_task(talk.answer())
        while not answering.done():
            talk.send(b"x")
            await asyncio.sleep(READ_DEADLINE_S / 10)
        assert (await answering).status == 503
    assert scene.kept == []
    await scene.assert_goes_on()


@pytest.mark.parametrize("rude", [False, True])
@pytest.mark.parametrize(
    "sent",
    ["", "PO", "POST @ HTTP/1.1\r\n", "^Content-Le", "^Content-Length: 2\r\n\r\na", f"^{CHUNKED}2\r\na"],
)
async def test_a_client_that_leaves_early_leaves_nothing(scene: Scene, sent: str, *, rude: bool) -> None:
    """With a goodbye or without: nothing is kept, and its connection is forgotten."""
    for _ in range(5):
        async with talk_to(scene.port) as talk:
            talk.send(scene.bytes_of(sent))
            await talk.writer.drain()
            if rude:
                talk.reset()
    await eventually(lambda: no_call_is_open(scene))
    assert scene.kept == []
    await scene.assert_goes_on()


async def test_a_client_that_does_not_wait_for_its_answer_harms_nobody(scene: Scene) -> None:
    """Its alert counts, since it came whole."""
    async with talk_to(scene.port) as talk:
        talk.send(scene.bytes_of(f"^{AB}"))
        await talk.writer.drain()
        await eventually(lambda: something_kept(scene))
        talk.reset()
    assert scene.kept == [b"ab"]
    await scene.assert_goes_on()


@pytest.fixture
def customer() -> Customer:
    return new_customer()


async def something_kept(scene: Scene) -> bool:
    return bool(scene.kept)


async def no_call_is_open(scene: Scene) -> bool:
    """No connection to the port is established."""
    return not await asyncio.to_thread(connected, scene.port)


def connected(port: int) -> bool:
    """Both ends of a connection are this process's to see."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[3] == ESTABLISHED for row in rows)
