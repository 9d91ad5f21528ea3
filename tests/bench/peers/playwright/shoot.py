"""Playwright with a fresh context for each picture, as its own documentation isolates users.

Runs with the interpreter it is installed for, so it imports nothing of the project: `python shoot.py WORK`,
with a JSON `Work` of `tests/bench/capture_load.py` in the file, and its protocol on the standard streams.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright  # type: ignore[import-not-found]  # not in our environment

DEADLINE_S = 30.0


class Course:
    """As many pictures at a time as the work says, until the jobs or the seconds are used up."""

    def __init__(self, browser: Browser, work: dict[str, Any]) -> None:
        self._browser = browser
        self._work = work
        self.latencies_ms: dict[int, float] = {}
        self.errors: dict[int, str] = {}

    async def run(self, jobs: list[dict[str, Any]], seconds: float) -> float:
        began_s = time.perf_counter()
        waiting = iter(jobs)
        slots = (self._slot(waiting, began_s + seconds) for _ in range(self._work["concurrency"]))
        await asyncio.gather(*slots)
        return time.perf_counter() - began_s

    async def _slot(self, waiting: Iterator[dict[str, Any]], end_s: float) -> None:
        for job in waiting:
            began_s = time.perf_counter()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._shoot(job)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no picture
                self.errors[job["number"]] = f"{type(error).__name__}: {error}"[:300]
            else:
                self.latencies_ms[job["number"]] = (time.perf_counter() - began_s) * 1000
            if time.perf_counter() > end_s:
                return

    async def _shoot(self, job: dict[str, Any]) -> None:
        size = {"width": self._work["width_px"], "height": self._work["height_px"]}
        # the page's policy allows no `eval`, which is how a condition is waited for
        context = await self._browser.new_context(viewport=size, bypass_csp=True)
        try:
            await context.add_cookies(
                [
                    {"name": name, "value": value, "url": self._work["origin"]}
                    for name, value in job["cookies"].items()
                ]
            )
            page = await context.new_page()
            await page.goto(job["url"])
            await page.wait_for_selector(self._work["selector"])
            await page.wait_for_function(job["ready"])
            png = await page.screenshot()
        finally:
            await context.close()
        await asyncio.to_thread(Path(job["path"]).write_bytes, png)


def told_to_go_on() -> None:
    sys.stdin.readline()


async def main(work: dict[str, Any]) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=work["browser"], args=work["flags"], chromium_sandbox=False
        )
        await Course(browser, work).run(work["warm_up"], 600.0)
        print("warm", flush=True)
        await asyncio.to_thread(told_to_go_on)
        course = Course(browser, work)
        seconds = await course.run(work["jobs"], work["seconds"])
        figures = {"seconds": seconds, "latencies_ms": course.latencies_ms, "errors": course.errors}
        print(json.dumps(figures), flush=True)
        await asyncio.to_thread(told_to_go_on)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
