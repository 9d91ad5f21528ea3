"""Restarts by real processes under a clock that only the test moves."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.local.child import Program
from deploy.local.errors import LocalError, NotReadyError
from deploy.local.supervisor import HEALTHY_AFTER_S, START_TRIES, KeptPart

FAILS = "print('reason of the failure'); raise SystemExit(3)"
WORKS = "import time; time.sleep(600)"


class EndOfTestError(Exception):
    """The part was restarted as often as the test wanted."""


@dataclass
class StepClock:
    """Time passes in `sleep`, which returns at once and is recorded, and by `step_s` with each look at it."""

    step_s: float = 0
    restarts: int = 100
    now_s: float = 1000
    waits: list[float] = field(default_factory=list)

    def unix_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        self.now_s += self.step_s
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds
        if len(self.waits) == self.restarts:
            raise EndOfTestError


@dataclass
class ScriptPart:
    """A part whose program is a line of Python. `check` and `prepare` do what the test wants."""

    code: str
    log: Path
    name: str = "part"
    on_check: Callable[[], None] = lambda: None
    on_prepare: Callable[[], None] = lambda: None

    async def prepare(self) -> None:
        self.on_prepare()

    def program(self) -> Program:
        return Program("part", (sys.executable, "-c", self.code), {}, self.log)

    async def check(self) -> None:
        self.on_check()


@dataclass
class Bench:
    """A part under supervision and what was said about it."""

    part: ScriptPart
    clock: StepClock = field(default_factory=StepClock)
    said: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[KeptPart]:
        kept = KeptPart(self.part, self.clock, self.said.append, stop_deadline_s=5)
        kept.start()
        try:
            yield kept
        finally:
            await kept.stop()


def not_ready() -> None:
    raise NotReadyError("not yet")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "part.log"


async def test_a_part_that_never_works_is_given_up(log: Path) -> None:
    """After a few tries, ever further apart, with the end of its log in the message."""
    bench = Bench(ScriptPart(FAILS, log, on_check=not_ready))
    async with bench.kept() as kept:
        with pytest.raises(LocalError, match=r"ended 5 times(?s:.*)reason of the failure"):
            await kept.ready()
    assert bench.clock.waits == [0.2, 0.4, 0.8, 1.6]
    assert bench.said == ["part ended (exit code 3), restarting…"] * (START_TRIES - 1)


async def test_waits_double_up_to_a_cap(log: Path) -> None:
    """A part that worked once is never given up, and in the end tried every five seconds."""
    bench = Bench(ScriptPart(FAILS, log), StepClock(restarts=8))
    async with bench.kept() as kept:
        with pytest.raises(EndOfTestError):
            await kept.failed()
    assert bench.clock.waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert bench.said[:3] == ["part ended (exit code 3), restarting…", "part is back", *bench.said[:1]]


async def test_a_part_that_worked_for_long_is_restarted_soon(log: Path) -> None:
    """Thirty seconds of work wipe the slate clean."""
    bench = Bench(ScriptPart(FAILS, log), StepClock(step_s=HEALTHY_AFTER_S, restarts=4))
    async with bench.kept() as kept:
        with pytest.raises(EndOfTestError):
            await kept.failed()
    assert bench.clock.waits == [0.2, 0.2, 0.2, 0.2]


async def test_ready_waits_for_the_check(log: Path) -> None:
    """A program that runs is not yet a part that works."""
    answers = iter([NotReadyError("not yet"), NotReadyError("not yet"), None])

    def check() -> None:
        answer = next(answers)
        if answer:
            raise answer

    bench = Bench(ScriptPart(WORKS, log, on_check=check))
    async with bench.kept() as kept:
        await kept.ready()
        assert next(answers, "all given") == "all given"
    assert bench.said == []


async def test_a_preparation_that_fails_ends_the_start(log: Path) -> None:
    """A person watches the first start and can act on the reason."""

    def prepare() -> None:
        raise LocalError("no space left")

    bench = Bench(ScriptPart(WORKS, log, on_prepare=prepare))
    async with bench.kept() as kept:
        with pytest.raises(LocalError, match="no space left"):
            await kept.ready()


async def test_a_preparation_that_fails_later_is_tried_again(log: Path) -> None:
    """A part that worked comes back by itself when the reason is gone."""
    outcomes = iter([None, LocalError("no space left"), OSError("no space left")])

    def prepare() -> None:
        outcome = next(outcomes, None)
        if outcome:
            raise outcome

    bench = Bench(ScriptPart(FAILS, log, on_prepare=prepare), StepClock(restarts=4))
    async with bench.kept() as kept:
        with pytest.raises(EndOfTestError):
            await kept.failed()
    assert bench.said[1:4] == ["part cannot be started: no space left"] * 2 + ["part is back"]


async def test_a_part_that_was_never_started_can_be_stopped(log: Path) -> None:
    """The owner need not know how far the start came."""
    await KeptPart(ScriptPart(WORKS, log), StepClock(), print, stop_deadline_s=5).stop()
