"""How a picture is best shot: the screenshot command, or frames drawn on command in a browser of its own.

`python -m tests.bench.bench_shoot [pictures]`, in the clone, on a machine that has nothing else to do.
One page with a live chart, settled; then pictures one after another. The numbers are in
`docs/decisions/0014-how-a-picture-is-shot.md`.
"""

import asyncio
import base64
import io
import os
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageChops

from deploy.local.browser import find_browser
from deploy.local.chart.settings import ChartSiteSettings
from deploy.local.chart.site import create_app
from runtime.clock import SystemClock
from tests.support.browser_probe import Browser, Page, open_browser
from tests.support.capture_parts import CHART_LIBRARY, SITE_SECRET, serving, signed_in
from tests.support.processes import descendants

FRAME_FLAGS: Final = (
    "--enable-begin-frame-control",
    "--run-all-compositor-stages-before-draw",
    "--disable-threaded-animation",
    "--disable-threaded-scrolling",
    "--disable-checker-imaging",
)
SIZES: Final = ((1280, 720), (1920, 1080))
READY: Final = "globalThis.TradingViewApi?.activeChart().dataReady()"
PNG: Final = {"format": "png", "optimizeForSpeed": True}
IDLE_S: Final = 3.0


class StillClock(SystemClock):
    """The time of day stands still, so that prices are drawn anew all the time but do not change."""

    def unix_ms(self) -> int:
        return 1_767_607_265_123


Shoot = Callable[[Page], Awaitable[bytes]]
clock = SystemClock()


async def by_command(page: Page) -> bytes:
    answer = await page.send("Page.captureScreenshot", **PNG)
    return base64.b64decode(answer["data"])


async def by_frame(page: Page) -> bytes:
    answer = await page.send("HeadlessExperimental.beginFrame", screenshot=PNG)
    return base64.b64decode(answer["screenshotData"])


@asynccontextmanager
async def a_page(browser: Browser, size: tuple[int, int], *, frames: bool) -> AsyncIterator[Page]:
    context = (await browser.send("Target.createBrowserContext"))["browserContextId"]
    target: dict[str, Any] = await browser.send(
        "Target.createTarget",
        url="about:blank",
        browserContextId=context,
        width=size[0],
        height=size[1],
        enableBeginFrameControl=frames,
    )
    attached = await browser.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page = Page(browser, attached["sessionId"], context)
    await page.send("Page.enable")
    yield page
    await browser.send("Target.disposeBrowserContext", browserContextId=context)


async def open_chart(page: Page, origin: str, *, frames: bool) -> float:
    """Seconds from navigation to a chart that has been drawn."""
    session = signed_in("Ana")
    cookies = {
        "sessionid": session.sessionid.get_secret_value(),
        "sessionid_sign": session.sessionid_sign.get_secret_value(),
    }
    await page.set_cookies(origin, cookies)
    started_s = clock.monotonic_s()
    await page.goto(f"{origin}/chart/Ab3dE9xZ/?symbol=X:Y&interval=1D")
    while not await page.evaluate(READY):
        if frames:
            await page.send("HeadlessExperimental.beginFrame")
        else:
            await clock.sleep(0.005)
    return clock.monotonic_s() - started_s


def cpu_s(pids: dict[int, str]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(browser: Browser, origin: str, size: tuple[int, int], count: int, *, frames: bool) -> bytes:
    shoot: Shoot = by_frame if frames else by_command
    async with a_page(browser, size, frames=frames) as page:
        opened_s = await open_chart(page, origin, frames=frames)
        picture = await shoot(page)
        await clock.sleep(0.5)
        pids = await asyncio.to_thread(descendants, os.getpid())
        before_s, taken_s = cpu_s(pids), []
        for _picture in range(count):
            started_s = clock.monotonic_s()
            picture = await shoot(page)
            taken_s.append(clock.monotonic_s() - started_s)
        shot_s = (cpu_s(pids) - before_s) / count
        before_s = cpu_s(pids)
        await clock.sleep(IDLE_S)
        idle = (cpu_s(pids) - before_s) / IDLE_S
    deciles = statistics.quantiles(taken_s, n=20)
    print(
        f"{'frame' if frames else 'command':8}{size[0]}x{size[1]}  opened {opened_s * 1000:4.0f} ms"
        f"  p50 {deciles[9] * 1000:5.1f}  p95 {deciles[18] * 1000:5.1f} ms"
        f"  CPU {shot_s * 1000:4.0f} ms a picture, {idle:.2f} cores idle"
    )
    return picture


def difference(one: bytes, other: bytes) -> str:
    with Image.open(io.BytesIO(one)) as a, Image.open(io.BytesIO(other)) as b:
        apart = ImageChops.difference(a.convert("RGB"), b.convert("RGB")).convert("L")
    changed = sum(apart.histogram()[1:])
    return f"{changed} of {apart.width * apart.height} pixels differ, by {apart.getextrema()[1]} at most"


async def main(count: int) -> None:
    executable = find_browser()
    settings = ChartSiteSettings(secret=SITE_SECRET, library=CHART_LIBRARY, loading_ms=30, tick_ms=100)
    async with serving(create_app(settings, StillClock())) as origin:
        for size in SIZES:
            pictures = []
            for frames in (False, True):
                async with open_browser(executable, *(FRAME_FLAGS if frames else ())) as browser:
                    pictures.append(await measure(browser, origin, size, count, frames=frames))
            print(f"        {difference(*pictures)}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
