"""The capture role with a renderer that only writes: `python -m tests.support.capture_role`.

It works in the folder `RENDERER_FOLDER`: appends to `pages`, and reads from `render_s` how long a page takes,
again and again. A ticker with `KILLER` in it ends the worker.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import capture.agent
from capture.engine import CaptureOrder, Shot
from capture.leases import AccountTerms
from capture.settings import CaptureSettings
from runtime.clock import Clock
from runtime.environment import process_environment
from runtime.process import run_command
from runtime.streams.service import StreamSettings
from tests.support.capture_parts import png_of


class WrittenRenderer:
    """Logs each page as `open|close PID ACCOUNT TICKER`, a line each, whole and in order."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._log = os.open(folder / "pages", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def healthy(self) -> bool:
        return True

    async def capture(self, order: CaptureOrder) -> Shot:
        self._write("open", order)
        try:
            if "KILLER" in order.view.ticker:
                os.kill(os.getpid(), signal.SIGKILL)
            await self._render()
        finally:
            self._write("close", order)
        return Shot(png_of(), self._clock.unix_ms(), {"shoot": 1}, None)

    async def _render(self) -> None:
        begun_s = self._clock.monotonic_s()
        while self._clock.monotonic_s() - begun_s < float((self._folder / "render_s").read_text()):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)

    def _write(self, word: str, order: CaptureOrder) -> None:
        account = order.session.sessionid.get_secret_value()
        os.write(self._log, f"{word} {os.getpid()} {account} {order.view.ticker}\n".encode())


@asynccontextmanager
async def open_renderer(
    folder: Path, _settings: CaptureSettings, clock: Clock
) -> AsyncIterator[WrittenRenderer]:
    yield WrittenRenderer(folder, clock)


def main() -> None:
    """The role as it is, but for the browser; leases and membership in the group end sooner."""
    values = process_environment()
    folder = Path(values["RENDERER_FOLDER"])
    parts = vars(capture.agent)
    parts["open_engine"] = partial(open_renderer, folder)
    quick = partial(AccountTerms, ttl_s=3.0, renew_every_s=0.5, give_up_s=2.0, hold_s=1.0)
    parts["AccountTerms"] = quick
    parts["StreamSettings"] = partial(StreamSettings, session_timeout_s=10.0)
    run_command("capture", CaptureSettings, capture.agent.serve_capture, values, plain_loop=True)


if __name__ == "__main__":
    main()
