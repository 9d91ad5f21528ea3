"""One running browser under watch, and the supply that replaces it when it is worn, gone or stuck."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pyppeteer.browser

from capture.connection import PipeConnection
from capture.contexts import WarmContexts, Warmth
from capture.errors import BrowserGoneError, CommandError
from capture.launcher import BrowserProcess
from capture.memory import group_memory_bytes
from runtime.clock import Clock
from runtime.errors import TransientError
from runtime.logging import get_logger

START_DEADLINE_S: Final = 15.0
HEALTH_DEADLINE_S: Final = 2.0
WATCH_INTERVAL_S: Final = 1.0
_MISSES_MAX: Final = 2
_STDERR_CHUNKS: Final = 32
_STDERR_CHUNK_BYTES: Final = 1024
_LAST_WORDS_S: Final = 1.0
_GRACE_S: Final = 0.3

log = get_logger(__name__)


class BrowserStartError(TransientError):
    """No browser came up. `stderr` is the end of what it wrote."""

    def __init__(self, stderr: str) -> None:
        super().__init__(f"the browser did not start: {stderr[-300:]}")
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class Wear:
    """After how much use a browser is replaced."""

    captures: int
    age_s: float
    memory_bytes: int


class LiveBrowser:
    """A browser process with its connection. A task of its own pings it and buries it when it is dead.

    `captures` counts pages opened; `users` are captures under way; `memory_bytes` is what all its processes
    together have to themselves, measured every few seconds.
    """

    def __init__(self, process: BrowserProcess, warmth: Warmth, clock: Clock) -> None:
        self.process = process
        self.connection = PipeConnection()
        self.contexts = WarmContexts(self.connection, warmth, clock)
        self.captures = 0
        self.users = 0
        self.retired = False
        self.memory_bytes = 0
        self._stderr = _Tail()
        self._born_s = clock.monotonic_s()
        self._clock = clock
        self._errors: asyncio.BaseTransport | None = None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, process: BrowserProcess, warmth: Warmth, clock: Clock) -> "LiveBrowser":
        """Take over a launched process. Raises `BrowserStartError`, with nothing left of it."""
        browser = cls(process, warmth, clock)
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                await browser._connect()
        except BaseException as error:
            await browser._bury()
            if isinstance(error, CommandError | TimeoutError):
                raise BrowserStartError(browser.stderr_text) from error
            raise
        browser._watch = asyncio.create_task(browser._watch_over(), name="browser-watch")
        return browser

    @property
    def is_gone(self) -> bool:
        return self.connection.closed.is_set()

    @property
    def stderr_text(self) -> str:
        return b"".join(self._stderr.chunks).decode(errors="replace")

    async def healthy(self) -> bool:
        """Whether the browser answers within 2 s. Never raises."""
        try:
            await self.connection.send("Browser.getVersion", deadline_s=HEALTH_DEADLINE_S)
        except CommandError:
            return False
        return True

    def is_worn(self, wear: Wear) -> bool:
        age_s = self._clock.monotonic_s() - self._born_s
        broken = self.retired or self.is_gone or self.contexts.stuck
        is_used_up = self.captures >= wear.captures or age_s >= wear.age_s
        return broken or is_used_up or self.memory_bytes >= wear.memory_bytes

    def retire(self) -> None:
        """No new captures: a page of it could not be closed."""
        self.retired = True

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """A block that ends with `BrowserGoneError` when the browser does, whatever it waits for.

        Commands fail by themselves at once; some of pyppeteer's promises would never be kept.
        """
        loop = asyncio.get_running_loop()
        scope = asyncio.timeout(None)

        def doom() -> None:
            scope.reschedule(loop.time() + _GRACE_S)

        try:
            async with scope:
                self.connection.on("closed", doom)
                if self.is_gone:
                    raise BrowserGoneError("the browser is gone")
                yield
        except TimeoutError as error:
            if scope.expired():
                raise BrowserGoneError("the browser has ended") from error
            raise
        finally:
            self.connection.remove_listener("closed", doom)

    async def close(self) -> None:
        """End the browser and all its pages at once. Idempotent."""
        self.connection.close()
        if self._watch is not None:
            await asyncio.wait({self._watch})

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        errors = open(self.process.errors_fd, "rb", 0)  # noqa: SIM115, ASYNC230, PTH123 - the transport closes it
        await self.connection.open(self.process.commands_fd, self.process.replies_fd)
        self._errors, _ = await loop.connect_read_pipe(lambda: self._stderr, errors)
        await self.connection.send("Browser.getVersion", deadline_s=START_DEADLINE_S)
        self.connection.on("Target.targetCreated", self._refuse_popup)
        self.contexts.puppet = await pyppeteer.browser.Browser.create(self.connection, [], False, None)
        self.connection.on("closed", self._release_waiters)

    async def _watch_over(self) -> None:
        misses = 0
        try:
            while misses < _MISSES_MAX and not await self._closed_within(WATCH_INTERVAL_S):
                misses = 0 if await self.healthy() else misses + 1
                self.memory_bytes = await asyncio.to_thread(group_memory_bytes, self.process.popen.pid)
                await self.contexts.measured(self.memory_bytes)
            log.info("browser_ended", captures=self.captures, stuck=misses >= _MISSES_MAX)
        finally:
            await self._bury()

    async def _closed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.connection.closed.wait()
        except TimeoutError:
            return False

    async def _bury(self) -> None:
        self.connection.close()
        await asyncio.shield(self.process.end())
        if self._errors is None:
            return
        # what a dead browser has written last is still on its way
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._stderr.ended.wait()
        if not self._errors.is_closing():
            self._errors.close()

    def _release_waiters(self) -> None:
        """End what waits for a page to appear: pyppeteer's tasks and captures wait on the same futures."""
        for target in self.contexts.puppet._targets.values():  # noqa: SLF001 - as its own `disconnect` does
            if not target._initializedPromise.done():  # noqa: SLF001 - likewise
                target._initializedCallback(False)  # noqa: SLF001 - likewise

    def _refuse_popup(self, event: dict[str, Any]) -> None:
        target = event["targetInfo"]
        if target["type"] == "page" and "openerId" in target:
            self.connection.tell("Target.closeTarget", {"targetId": target["targetId"]})


class BrowserSupply:
    """The current browser for whoever asks. A worn one is replaced, and ends when its last user leaves it."""

    def __init__(self, start: Callable[[], Awaitable[LiveBrowser]], wear: Wear) -> None:
        self._start = start
        self._wear = wear
        self._current: LiveBrowser | None = None
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[LiveBrowser]:
        """Raises `BrowserStartError`, and `BrowserGoneError` when the browser dies while it is used."""
        browser = await self._fresh()
        browser.users += 1
        browser.captures += 1
        try:
            async with browser.in_use():
                yield browser
        finally:
            browser.users -= 1
            if browser is not self._current:
                await self._end_unused(browser)

    async def healthy(self) -> bool:
        """Whether there is a browser that answers; starts one if need be."""
        return await (await self._fresh()).healthy()

    async def close(self) -> None:
        """End the current browser, in use or not."""
        browser, self._current = self._current, None
        if browser is not None:
            await browser.close()

    async def _fresh(self) -> LiveBrowser:
        async with self._turn:
            browser = self._current
            if browser is None or browser.is_worn(self._wear):
                self._current = await self._start()
                if browser is not None:
                    await self._end_unused(browser)
                return self._current
            return browser

    async def _end_unused(self, browser: LiveBrowser) -> None:
        if browser.users == 0:
            await browser.close()


class _Tail(asyncio.Protocol):
    """Keeps the last chunks, so that a browser that talks without end costs no memory."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque(maxlen=_STDERR_CHUNKS)
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data[-_STDERR_CHUNK_BYTES:])

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended.set()
