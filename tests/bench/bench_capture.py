"""Pictures a minute and how long each takes: our worker beside pyppeteer as tutorials use it, and Playwright.

All drive the same browser on the look-alike chart site, light and of real size, one after the other, each in
a process of its own; users come again and again. Every picture is read: a wrong one counts as none, and is
printed. Playwright is measured when it is installed: see tests/bench/peers/playwright/README.md.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from deploy.local.browser import find_browser
from deploy.local.child import Program
from deploy.local.errors import NotReadyError
from deploy.local.ports import Ports
from schemas.plans import Plan
from tests.bench.capture_load import Figures, Job, Load, wrong_pictures
from tests.bench.peers.roster import HOW_TO_INSTALL
from tests.bench.report import cpu_s_of, quantile, show_machine, show_table
from tests.support.capture_parts import CHART_LIBRARY, SITE_SECRET
from tests.support.processes import descendants
from tests.support.stack import ROOT, free_port, running, temporary_folder

OURS: Final = "ours"
CLOSED: Final = "ours, pages closed"
TUTORIAL: Final = "pyppeteer, networkidle"
README: Final = "pyppeteer, a browser each"
PLAYWRIGHT: Final = "playwright"
_PYTHON_OF_PLAYWRIGHT: Final = ROOT / ".local/bench/playwright/bin/python"
_DEADLINE_S: Final = 240
_SHOWN_FAULTS: Final = 3

PHASES: Final = ("queue", "navigate", "ready", "settle", "shoot", "upload")
TITLES: Final = (
    "load: contender", "right/min", "p50 ms", "p95 ms", "right", "wrong", "none", "CPU ms", "site ms", "MB",
    *PHASES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """`faults` are pictures of something else; CPU and memory are the contender's with all its processes."""

    load: Load
    contender: str
    figures: Figures
    faults: dict[int, str]
    cpu_s: float
    site_cpu_s: float
    memory_mb: float

    @property
    def shot(self) -> int:
        return len(self.figures.latencies_ms)

    @property
    def per_min(self) -> float:
        """Of the right ones."""
        return 60 * (self.shot - len(self.faults)) / self.figures.seconds

    @property
    def pace_per_min(self) -> float:
        """Of all it took, right or wrong, as if none had kept a slot waiting in vain."""
        latencies_ms = list(self.figures.latencies_ms.values())
        return 60_000 * self.load.concurrency * len(latencies_ms) / max(sum(latencies_ms), 1.0)

    def latency_ms(self, share: float) -> float:
        return quantile(list(self.figures.latencies_ms.values()) or [0.0], share)

    def cells(self) -> tuple[str, ...]:
        each = 1000 / max(self.shot, 1)
        phases = self.figures.phases_ms
        return (
            f"{self.load.name}: {self.contender}",
            f"{self.per_min:.0f}",
            f"{self.latency_ms(0.5):.0f}",
            f"{self.latency_ms(0.95):.0f}",
            str(self.shot - len(self.faults)),
            str(len(self.faults)),
            str(len(self.figures.errors)),
            f"{self.cpu_s * each:.0f}",
            f"{self.site_cpu_s * each:.0f}",
            f"{self.memory_mb:.0f}",
            *(f"{quantile(phases[phase], 0.5):.0f}" if phases.get(phase) else "" for phase in PHASES),
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """The site, running, and where pictures are put."""

    origin: str
    site_pid: int
    folder: Path

    def measure(self, load: Load, contender: str) -> Measured:
        """Raises when the contender does not come to its end."""
        folder = self.folder / f"{load.name}-{contender}".replace(" ", "-")
        folder.mkdir()
        work = load.work(self.origin, find_browser(), folder)
        file = folder / "work.json"
        file.write_bytes(msgspec.json.encode(work))
        with _contender(contender, file) as process:
            _line_of(process)
            began_s, site_began_s = _tree_cpu_s(process.pid), cpu_s_of(self.site_pid)
            _go_on(process)
            figures = msgspec.json.decode(_line_of(process), type=Figures)
            cpu_s, site_cpu_s = _tree_cpu_s(process.pid) - began_s, cpu_s_of(self.site_pid) - site_began_s
            memory_mb = _tree_memory_mb(process.pid)
            _go_on(process)
            process.wait(_DEADLINE_S)
        measured = Measured(
            load, contender, figures, wrong_pictures(work.jobs, figures), cpu_s, site_cpu_s, memory_mb
        )
        show_faults(measured, work.jobs)
        return measured


@dataclass(frozen=True, slots=True)
class Goal:
    """`value` is of what was found, for one of our contenders."""

    text: str
    value: Callable[[dict[tuple[str, str], Measured], str], float]
    met: Callable[[float], bool]


LIGHT: Final = Load("light, many accounts", heavy=False, users=40, concurrency=3, visits=1, seconds=12)
ALONE: Final = Load("light, one account", heavy=False, users=1, concurrency=1, visits=2, seconds=8)
HEAVY: Final = Load("real size, many accounts", heavy=True, users=9, concurrency=3, visits=2, seconds=15)
LOADS: Final = {"light": LIGHT, "one": ALONE, "heavy": HEAVY}

GOALS: Final = (
    Goal(
        "light, many accounts: right pictures a minute, at least 500",
        lambda found, ours: found[LIGHT.name, ours].per_min,
        lambda value: value >= 500,
    ),
    Goal(
        "light, one account, spacing off: right pictures a minute, at least 120",
        lambda found, ours: found[ALONE.name, ours].per_min,
        lambda value: value >= 120,
    ),
    Goal(
        "light, one account, warm: p50 in ms, at most 300",
        lambda found, ours: found[ALONE.name, ours].latency_ms(0.5),
        lambda value: value <= 300,
    ),
    Goal(
        "light, many accounts, all slots busy: p50 in ms, at most 300",
        lambda found, ours: found[LIGHT.name, ours].latency_ms(0.5),
        lambda value: value <= 300,
    ),
    Goal(
        "real size: our right pictures by those of pyppeteer as its README has it, at least 3",
        lambda found, ours: found[HEAVY.name, ours].per_min / found[HEAVY.name, README].per_min,
        lambda value: value >= 3,
    ),
    Goal(
        "real size: our right pictures by the tutorial's, at least 3",
        lambda found, ours: found[HEAVY.name, ours].per_min / max(found[HEAVY.name, TUTORIAL].per_min, 1.0),
        lambda value: value >= 3,
    ),
    Goal(
        "real size: our right pictures by all of the tutorial's as if none had waited in vain, at least 3",
        lambda found, ours: found[HEAVY.name, ours].per_min / found[HEAVY.name, TUTORIAL].pace_per_min,
        lambda value: value >= 3,
    ),
)


def show_faults(measured: Measured, jobs: Sequence[Job]) -> None:
    names = {job.number: job.user_name for job in jobs}
    faults = [f"{names[number]} wrong, {text}" for number, text in measured.faults.items()]
    faults += [f"{names[number]} none, {text}" for number, text in measured.figures.errors.items()]
    for text in faults[:_SHOWN_FAULTS]:
        print(f"  {measured.contender}, {measured.load.name}: {text}")
    if len(faults) > _SHOWN_FAULTS:
        print(f"  and {len(faults) - _SHOWN_FAULTS} more", flush=True)


def show_goals(found: dict[tuple[str, str], Measured]) -> None:
    for goal, ours in itertools.product(GOALS, (OURS, CLOSED)):
        with suppress(KeyError):  # not measured this time
            value = goal.value(found, ours)
            print(f"{'met   ' if goal.met(value) else 'MISSED'}  {goal.text}; {ours}: {value:.1f}")


@contextmanager
def _contender(name: str, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.bench.capture_contender", name, str(work)]
    if name == PLAYWRIGHT:
        script = ROOT / "tests/bench/peers/playwright/shoot.py"
        command = [str(_PYTHON_OF_PLAYWRIGHT), str(script), str(work)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def _line_of(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the contender has ended before its time")
    return line


def _go_on(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def _tree_cpu_s(pid: int) -> float:
    total = 0.0
    for each in [pid, *descendants(pid)]:
        try:
            total += cpu_s_of(each)
        except OSError:
            continue
    return total


def _tree_memory_mb(pid: int) -> float:
    """Proportional: what is shared counts once."""
    total_kb = 0
    for each in [pid, *descendants(pid)]:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kb += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1024


@contextmanager
def chart_site() -> Iterator[Bench]:
    ports = Ports()
    port = free_port(ports)
    values = {
        "ALERTS_ENV_FILE": "",
        "CHART_SITE_PORT": str(port),
        "CHART_SITE_SECRET": SITE_SECRET.get_secret_value(),
        "CHART_SITE_LIBRARY": str(CHART_LIBRARY),
        "LOG_FORMAT": "json",
    }
    with temporary_folder("bench") as folder:
        alerts = str(Path(sys.executable).with_name("alerts"))
        program = Program("chart-site", (alerts, "chart-site"), values, folder / "site.log", ROOT)
        origin = f"http://127.0.0.1:{port}"
        with running(program, lambda: _answers(f"{origin}/health")) as process:
            yield Bench(origin, process.pid, folder)
    ports.close()


async def _answers(url: str) -> None:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            answer.raise_for_status()
    except (aiohttp.ClientError, OSError) as error:
        raise NotReadyError(type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class Options:
    loads: Sequence[str]
    contenders: Sequence[str]
    plan: Plan
    seconds: float


def read_options() -> Options:
    names = (OURS, CLOSED, README, TUTORIAL, "pyppeteer, load", PLAYWRIGHT)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--contenders", nargs="+", choices=names, default=list(names))
    parser.add_argument("--plan", type=Plan, default=Plan.BASIC, help="whose picture size it is")
    parser.add_argument("--seconds", type=float, default=1.0, help="times as long as usual")
    # make gives its ARGS to every bench
    options, _others = parser.parse_known_args()
    return Options(**vars(options))


def main() -> None:
    options = read_options()
    contenders = [name for name in options.contenders if name != PLAYWRIGHT or _PYTHON_OF_PLAYWRIGHT.exists()]
    if contenders != list(options.contenders):
        print(f"not installed and left out: {PLAYWRIGHT}; to install: {HOW_TO_INSTALL}")
    show_machine()
    found: dict[tuple[str, str], Measured] = {}
    with chart_site() as bench:
        for name in options.loads:
            load = replace(LOADS[name], plan=options.plan, seconds=LOADS[name].seconds * options.seconds)
            for contender in contenders:
                found[load.name, contender] = bench.measure(load, contender)
    show_table(TITLES, [measured.cells() for measured in found.values()])
    show_goals(found)


if __name__ == "__main__":
    main()
