import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from capture.connection import FlatSession, PipeConnection
from capture.errors import (
    BrowserGoneError,
    CommandDeadlineError,
    CommandError,
    CommandRefusedError,
    TargetGoneError,
)
from runtime.errors import FatalError

PAGE = {"targetId": "T1", "type": "page"}


class Peer:
    """The browser's end of the pipe, played by the test."""

    def __init__(self) -> None:
        self._commands_read, self.commands_fd = os.pipe()
        self.replies_fd, self._replies_write = os.pipe()
        self._unread = b""
        self._open = True

    async def command(self) -> dict[str, Any]:
        """The next command."""
        while b"\0" not in self._unread:
            self._unread += await asyncio.to_thread(os.read, self._commands_read, 65536)
        message, _, self._unread = self._unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def write(self, data: bytes) -> None:
        """Blocks while the pipe is full."""
        while data:
            data = data[os.write(self._replies_write, data) :]

    def say(self, **message: Any) -> None:
        self.write(json.dumps(message).encode() + b"\0")

    async def answer(self, **result: Any) -> dict[str, Any]:
        """Answer the next command with a result."""
        command = await self.command()
        self.say(id=command["id"], result=result)
        return command

    def hang_up(self) -> None:
        if not self._open:
            return
        self._open = False
        for descriptor in (self._commands_read, self._replies_write):
            os.close(descriptor)


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
async def connection(peer: Peer) -> AsyncIterator[PipeConnection]:
    opened = PipeConnection()
    await opened.open(peer.commands_fd, peer.replies_fd)
    yield opened
    opened.close()
    # transports let go of their descriptors in the loop's next round
    await asyncio.sleep(0)
    peer.hang_up()


async def attach(connection: PipeConnection, peer: Peer, session_id: str = "S1") -> FlatSession:
    attaching = asyncio.ensure_future(connection.createSession(PAGE))
    await peer.answer(sessionId=session_id)
    return await attaching


async def ping(connection: PipeConnection, peer: Peer) -> None:
    """The connection still works."""
    reply = connection.send("Browser.getVersion")
    await peer.answer(product="x")
    assert await reply == {"product": "x"}


async def test_a_reply_finds_its_command(connection: PipeConnection, peer: Peer) -> None:
    """Whatever order they come in."""
    first, second = connection.send("A.a", {"x": 1}), connection.send("B.b")
    commands = [await peer.command(), await peer.command()]
    peer.say(id=commands[1]["id"], result={"b": 1})
    peer.say(id=commands[0]["id"], result={"a": 1})
    assert (await first, await second) == ({"a": 1}, {"b": 1})
    assert commands[0] == {"id": commands[0]["id"], "method": "A.a", "params": {"x": 1}}


async def test_a_command_of_a_page_carries_its_session(connection: PipeConnection, peer: Peer) -> None:
    """Sessions are flat: no message inside a message."""
    session = await attach(connection, peer)
    reply = session.send("Page.enable")
    command = await peer.answer()
    assert (command["sessionId"], command["method"]) == ("S1", "Page.enable")
    assert await reply == {}


async def test_a_refusal_is_an_error_of_its_command(connection: PipeConnection, peer: Peer) -> None:
    """With the browser's words."""
    reply = connection.send("A.a")
    command = await peer.command()
    peer.say(id=command["id"], error={"message": "no such method"})
    with pytest.raises(CommandRefusedError, match=r"A\.a: no such method"):
        await reply


async def test_a_late_reply_to_a_cancelled_command_is_ignored(connection: PipeConnection, peer: Peer) -> None:
    """It took down pyppeteer's own connection with all of its pages."""
    reply = connection.send("A.a")
    command = await peer.command()
    reply.cancel()
    peer.say(id=command["id"], error={"message": "cancelled"})
    peer.say(id=command["id"], result={})
    await ping(connection, peer)


async def test_a_command_without_answer_fails_in_time(connection: PipeConnection, peer: Peer) -> None:
    """And its reply, should it still come, hurts nobody."""
    reply = connection.send("A.a", deadline_s=0.01)
    command = await peer.command()
    with pytest.raises(CommandDeadlineError):
        await reply
    peer.say(id=command["id"], result={})
    await ping(connection, peer)


async def test_a_failing_listener_hurts_nobody(connection: PipeConnection, peer: Peer) -> None:
    """Neither the other listeners of the event nor the connection."""
    heard = asyncio.Event()
    connection.on("A.happened", lambda _event: 1 / 0)
    connection.on("A.happened", lambda _event: heard.set())
    peer.say(method="A.happened", params={})
    await heard.wait()
    await ping(connection, peer)


async def test_an_unheard_error_event_hurts_nobody(connection: PipeConnection, peer: Peer) -> None:
    """Emitters raise on `error` without a listener; a page does so when it crashes."""
    session = await attach(connection, peer)
    session.on("A.happened", lambda _event: session.emit("error", RuntimeError()))
    peer.say(method="A.happened", params={}, sessionId="S1")
    await ping(connection, peer)


async def test_a_crashed_page_fails_its_commands_alone(connection: PipeConnection, peer: Peer) -> None:
    """They would never be answered; those of other pages go on."""
    crashing, other = await attach(connection, peer, "S1"), await attach(connection, peer, "S2")
    lost, kept = crashing.send("A.a"), other.send("B.b")
    commands = [await peer.command(), await peer.command()]
    peer.say(method="Inspector.targetCrashed", params={}, sessionId="S1")
    with pytest.raises(TargetGoneError):
        await lost
    peer.say(id=commands[1]["id"], result={"b": 1})
    assert await kept == {"b": 1}


async def test_a_detached_page_is_gone(connection: PipeConnection, peer: Peer) -> None:
    """Pending and later commands fail, whoever listens is told, and nothing is kept of it."""
    session = await attach(connection, peer)
    told: asyncio.Queue[type[CommandError]] = asyncio.Queue()
    session.on("detached", told.put_nowait)
    reply = session.send("A.a")
    peer.say(method="Target.detachedFromTarget", params={"sessionId": "S1"})
    with pytest.raises(TargetGoneError):
        await reply
    with pytest.raises(TargetGoneError):
        await session.send("A.a")
    session.tell("A.a", {})
    assert await told.get() is TargetGoneError
    assert connection._sessions == {}


async def test_the_end_of_the_browser_fails_everything(connection: PipeConnection, peer: Peer) -> None:
    """At once, and every later command too."""
    session = await attach(connection, peer)
    told: asyncio.Queue[type[CommandError]] = asyncio.Queue()
    session.on("detached", told.put_nowait)
    pending = [connection.send("A.a"), session.send("B.b")]
    peer.hang_up()
    await connection.closed.wait()
    for reply in pending:
        with pytest.raises(BrowserGoneError):
            await reply
    for sender in (connection, session):
        with pytest.raises(BrowserGoneError):
            await sender.send("A.a")
    assert await told.get() is BrowserGoneError


async def test_big_messages_arrive_whole(connection: PipeConnection, peer: Peer) -> None:
    """A picture comes in many pieces, and the next message right behind it."""
    first, second = connection.send("A.a"), connection.send("B.b")
    commands = [await peer.command(), await peer.command()]
    picture = json.dumps({"id": commands[0]["id"], "result": {"data": "x" * 3_000_000}}).encode()
    other = json.dumps({"id": commands[1]["id"], "result": {}}).encode()
    await asyncio.to_thread(peer.write, picture + b"\0" + other + b"\0")
    assert len((await first)["data"]) == 3_000_000
    assert await second == {}


async def test_messages_that_cannot_be_read_are_left_out(connection: PipeConnection, peer: Peer) -> None:
    """A page may log half of a character pair; other bytes are no JSON at all."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    connection.on("A.logged", heard.put_nowait)
    peer.write(b'{"method": "A.logged", "params": {"text": "\\ud800"}}\0')
    peer.write(b"{nonsense\0")
    assert (await heard.get())["text"] == "\ud800"
    await ping(connection, peer)


async def test_strays_of_the_library_end_with_the_connection(connection: PipeConnection) -> None:
    """Tasks that pyppeteer starts and forgets are cancelled, and their failures go to nobody's traceback."""
    failing = connection.tasks.create_task(_fail())
    sleeping = connection.tasks.create_task(asyncio.Event().wait())
    await asyncio.wait({failing})
    connection.close()
    await asyncio.wait({sleeping})
    assert sleeping.cancelled()


async def _fail() -> None:
    raise LookupError


def test_no_browser_is_driven_on_a_loop_that_closes_pipes_twice() -> None:
    """Its second close would hit whatever another thread has opened meanwhile."""
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(FatalError, match="uvloop"),
    ):
        runner.run(_open_nothing())


async def _open_nothing() -> None:
    await PipeConnection().open(-1, -1)
