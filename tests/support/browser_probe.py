"""A real headless browser for tests, driven over the DevTools pipe. Independent of the code under test."""

import asyncio
import base64
import fcntl
import itertools
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

_FLAGS: Final = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--force-color-profile=srgb",
)
_COMMAND_DEADLINE_S: Final = 20
_MESSAGE_MAX_BYTES: Final = 2**26
_FIRST_FREE_FD: Final = 10


class BrowserError(Exception):
    """The browser refused a command, a script threw, or the browser is gone."""


class Browser:
    """One browser process. Use `open_browser`, which ends it with its whole process group."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.WriteTransport) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One DevTools command. Raises `BrowserError`, or `TimeoutError` after 20 s."""
        command: dict[str, Any] = {"id": next(self._ids), "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        answer = asyncio.get_running_loop().create_future()
        self._answers[command["id"]] = answer
        self._writer.write(json.dumps(command).encode() + b"\0")
        async with asyncio.timeout(_COMMAND_DEADLINE_S):
            result: dict[str, Any] = await answer
        return result

    async def receive(self) -> None:
        """Deliver answers until the browser is gone; events are ignored."""
        try:
            while True:
                self._deliver(json.loads((await self._reader.readuntil(b"\0"))[:-1]))
        except asyncio.IncompleteReadError:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(BrowserError("the browser is gone"))

    def _deliver(self, message: Mapping[str, Any]) -> None:
        answer = self._answers.pop(message.get("id", 0), None)
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(BrowserError(message["error"]["message"]))
        else:
            answer.set_result(message["result"])

    @asynccontextmanager
    async def page(self, width: int = 1280, height: int = 720) -> AsyncIterator["Page"]:
        """A page in a context of its own: no cookies, an empty cache."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = await self.send(
            "Target.createTarget", url="about:blank", browserContextId=context, width=width, height=height
        )
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"], context)
        await page.send("Page.enable")
        try:
            yield page
        finally:
            await self.send("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self._context = context

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.send(method, self._session, **params)

    async def set_cookies(self, origin: str, cookies: Mapping[str, str]) -> None:
        values = [{"name": name, "value": value, "url": origin} for name, value in cookies.items()]
        await self._browser.send("Storage.setCookies", cookies=values, browserContextId=self._context)

    async def on_new_document(self, script: str) -> None:
        """Run `script` in every document before the document's own scripts."""
        await self.send("Page.addScriptToEvaluateOnNewDocument", source=script)

    async def goto(self, url: str) -> None:
        """Start the navigation; what the page does then is awaited with `until`."""
        answer = await self.send("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(answer["errorText"])

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression; promises are awaited."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def until(self, condition: str) -> Any:
        """Wait, a frame at a time, until the expression is truthy, and give its value."""
        return await self.evaluate(
            "new Promise((done) => { const look = () => { const value = ("
            f"{condition}); if (value) done(value); else requestAnimationFrame(look); }}; look(); }})"
        )

    async def screenshot(self) -> bytes:
        """PNG of the viewport."""
        answer = await self.send("Page.captureScreenshot", format="png", optimizeForSpeed=True)
        return base64.b64decode(answer["data"])


@asynccontextmanager
async def open_browser(executable: Path, *flags: str) -> AsyncIterator[Browser]:
    """A running headless shell; `executable` is its ELF file, `flags` come on top of the usual ones.

    Afterwards its process group and its profile folder are gone.
    """
    profile = tempfile.mkdtemp(prefix="browser-probe-")
    commands_read, commands_write = _pipe()
    answers_read, answers_write = _pipe()
    pid = _spawn([str(executable), *_FLAGS, *flags], profile, (commands_read, answers_write))
    os.close(commands_read)
    os.close(answers_write)
    try:
        async with _connected(answers_read, commands_write) as browser:
            await browser.send("Browser.getVersion")
            yield browser
    finally:
        await asyncio.to_thread(_end, pid, profile)


@asynccontextmanager
async def _connected(answers_read: int, commands_write: int) -> AsyncIterator[Browser]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MESSAGE_MAX_BYTES)
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers_read, "rb", 0)
    )
    writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(commands_write, "wb", 0))
    browser = Browser(reader, writing)
    receiving = asyncio.create_task(browser.receive())
    try:
        yield browser
    finally:
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving
        writing.abort()
        reading.close()


def _pipe() -> tuple[int, int]:
    """A pipe whose ends stay clear of 3 and 4, which the browser expects as its own."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def _spawn(command: list[str], profile: str, pipe: tuple[int, int]) -> int:
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    arguments = [*command, *sandbox, f"--user-data-dir={profile}", "about:blank"]
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    ends = [(os.POSIX_SPAWN_DUP2, end, fd) for end, fd in zip(pipe, (3, 4), strict=True)]
    environment = {"HOME": profile, "LANG": "C.UTF-8", "PATH": os.defpath}
    return os.posix_spawn(arguments[0], arguments, environment, file_actions=[*quiet, *ends], setsid=True)


def _end(pid: int, profile: str) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    shutil.rmtree(profile, ignore_errors=True)
