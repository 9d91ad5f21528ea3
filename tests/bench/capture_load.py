"""What every contender of the capture bench is to take pictures of, and whether it did.

A contender is a process: it reads a JSON `Work`, takes the pictures of `warm_up`, prints `warm`, waits for a
line, takes those of `jobs` until `seconds` have passed, prints JSON `Figures`, waits for a line and ends. In
between the bench looks at what it uses.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from deploy.local.chart.interval import interval_or_default
from deploy.local.chart.strip import StripError, decode
from schemas.plans import PLAN_TERMS, Plan
from tests.support.capture_parts import signed_in

SELECTOR: Final = ".chart-container canvas"
_INTERVALS: Final = ("1", "5", "15", "60", "240", "1D")
_LIGHT, _HEAVY = "Ab3dE9xZ", "HeavyAb3"
# a picture shows the price of a moment before it is stored
_SLACK_MS: Final = 2_000

# What our own script waits for, but for the quiet window behind it.
_READY: Final = """() => {
  const chart = globalThis.TradingViewApi?.activeChart();
  return chart !== undefined && chart.dataReady() && chart.barsCount() > 0
    && chart.symbol() === %s && chart.resolution() === %s
    && document.documentElement.classList.contains("is-authenticated")
    && document.querySelector('[class^="loaderItem"]') === null
    && document.fonts.status === "loaded";
}"""


class Job(msgspec.Struct, frozen=True):
    """One picture: of whom, of what, and the file it is to be in."""

    number: int
    user: int
    cookies: dict[str, str]
    chart_id: str
    ticker: str
    interval: str
    url: str
    ready: str
    path: str

    @property
    def user_name(self) -> str:
        return f"user-{self.user}"


class Work(msgspec.Struct, frozen=True):
    origin: str
    browser: str
    flags: list[str]
    plan: Plan
    width_px: int
    height_px: int
    concurrency: int
    selector: str
    warm_up: list[Job]
    jobs: list[Job]
    seconds: float


class Figures(msgspec.Struct, frozen=True):
    """Latencies from the moment a slot takes the job to the stored file; phases are told by ours alone."""

    seconds: float
    latencies_ms: dict[int, float]
    errors: dict[int, str]
    phases_ms: dict[str, list[int]] = {}


@dataclass(frozen=True, slots=True)
class Load:
    """`users` take turns, `concurrency` at a time; each has come `visits` times before it counts."""

    name: str
    heavy: bool
    users: int
    concurrency: int
    visits: int
    seconds: float
    plan: Plan = Plan.BASIC

    def work(self, origin: str, browser: Path, folder: Path) -> Work:
        terms = PLAN_TERMS[self.plan]
        jobs = self._jobs(origin, folder)
        return Work(
            origin,
            str(browser),
            ["--no-sandbox"],
            self.plan,
            terms.picture_width_px,
            terms.picture_height_px,
            self.concurrency,
            SELECTOR,
            list(itertools.islice(jobs, self.users * self.visits)),
            list(itertools.islice(jobs, int(self.seconds * 40))),
            self.seconds,
        )

    def _jobs(self, origin: str, folder: Path) -> Iterator[Job]:
        """No two alike: nothing that shares pictures could gain by it."""
        chart_id = _HEAVY if self.heavy else _LIGHT
        cookies = [_cookies(f"user-{user}") for user in range(self.users)]
        for number in itertools.count():
            user, interval = number % self.users, _INTERVALS[number % len(_INTERVALS)]
            ticker = f"BENCH:S{number}"
            url = f"{origin}/chart/{chart_id}/?symbol=BENCH%3AS{number}&interval={interval}"
            ready = _READY % (json.dumps(ticker), json.dumps(interval))
            path = str(folder / f"{number}.png")
            yield Job(number, user, cookies[user], chart_id, ticker, interval, url, ready, path)


def wrong_pictures(jobs: list[Job], figures: Figures) -> dict[int, str]:
    """What is not the picture that was asked for, of those that a contender says it took; and why."""
    faults = {job.number: _fault(job) for job in jobs if job.number in figures.latencies_ms}
    return {number: fault for number, fault in faults.items() if fault is not None}


def _fault(job: Job) -> str | None:
    path = Path(job.path)
    try:
        shown = decode(path.read_bytes())
        stored_at_ms = path.stat().st_mtime_ns // 1_000_000
    except (StripError, OSError) as error:
        return f"unreadable: {error}"
    if shown.user != job.user_name:
        return f"of {shown.user} instead of {job.user_name}"
    if (shown.symbol, shown.interval) != (job.ticker, job.interval):
        return f"shows {shown.symbol} {shown.interval}"
    interval = interval_or_default(job.interval)
    bars = {interval.index_at(at_ms) for at_ms in (stored_at_ms, stored_at_ms - _SLACK_MS)}
    return None if interval.index_at(shown.last_bar_ms) in bars else "shows an old last bar"


def _cookies(user_name: str) -> dict[str, str]:
    session = signed_in(user_name)
    return {
        "sessionid": session.sessionid.get_secret_value(),
        "sessionid_sign": session.sessionid_sign.get_secret_value(),
    }
