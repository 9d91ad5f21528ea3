"""A worker that dies without a word takes its browser along."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.capture_pages import Hanging, engine_with, profiles_in
from tests.support.capture_parts import ROOT, look_alike, serving
from tests.support.processes import descendants, survivors

pytestmark = pytest.mark.usefixtures("profiles")

# A capture on a site that never answers, in a process of its own.
PROGRAM: Final = """
import asyncio, sys
from pathlib import Path
from tests.support.capture_parts import a_session, engine_on, order_of

async def main(origin, browser):
    async with engine_on(origin, Path(browser)) as engine:
        await engine.capture(order_of(a_session()))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_worker_leaves_no_process_and_the_next_one_no_folder(
    browser_path: Path, profiles: Path
) -> None:
    """The kernel ends the browser; what it left on disk is swept when a worker starts."""
    hanging = Hanging()
    async with serving(hanging.app) as origin:
        worker = subprocess.Popen(  # noqa: ASYNC220 - it is only started here
            [sys.executable, "-c", PROGRAM, origin, str(browser_path)],
            cwd=ROOT,
            env={"TMPDIR": str(profiles), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        await hanging.asked.wait()
        browser = await asyncio.to_thread(descendants, worker.pid)
        worker.send_signal(signal.SIGKILL)
        await asyncio.to_thread(worker.wait)
    assert browser
    assert await asyncio.to_thread(survivors, browser, 5.0) == {}
    left = profiles_in(profiles)
    assert left
    async with engine_with(look_alike(), browser_path):
        assert not any(folder in left for folder in profiles_in(profiles))
