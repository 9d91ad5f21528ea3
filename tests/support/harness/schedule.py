"""What a campaign does to whom and when: all of it follows from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from tests.support.harness.spec import Event, Fail

WorkerFault = Literal["kill", "terminate", "pause", "join and leave"]
ServerFault = Literal["cut database", "freeze broker", "kill broker"]

_WORKER_FAULTS: Final[tuple[WorkerFault, ...]] = ("kill", "terminate", "pause", "join and leave")
_SERVER_FAULTS: Final[tuple[ServerFault, ...]] = ("cut database", "freeze broker", "kill broker")
_FAILING: Final[tuple[tuple[Fail | None, float], ...]] = (
    (None, 0.95),
    ("once", 0.02),
    ("transient", 0.02),
    ("always", 0.005),
    ("invalid", 0.005),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """After a calm of `wait_s`; `length_s` for what lasts. `victim` counts the workers around."""

    kind: WorkerFault | ServerFault
    wait_s: float
    length_s: float
    victim: int = 0

    def __str__(self) -> str:
        return f"{self.kind} of {self.victim} after {self.wait_s:.2f} s for {self.length_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Two rows of faults that run beside each other."""

    workers: Sequence[Fault]
    servers: Sequence[Fault]

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in [*self.workers, *self.servers])


def draw_schedule(random: Random, rounds: int) -> Schedule:
    """Each kind once a round, in any order."""
    workers = [fault for _ in range(rounds) for fault in _round(random, _WORKER_FAULTS)]
    servers = [fault for _ in range(rounds) for fault in _round(random, _SERVER_FAULTS)]
    return Schedule(workers, servers)


def draw_events(random: Random, count: int, name: str) -> list[Event]:
    """Mostly quick and good ones. Their ids are made of the name and a number."""
    failures, weights = zip(*_FAILING, strict=True)
    return [
        Event(f"{name}{number}", _work_s(random), random.choices(failures, weights)[0])
        for number in range(count)
    ]


def _round(random: Random, kinds: Sequence[WorkerFault | ServerFault]) -> list[Fault]:
    return [
        Fault(kind, random.uniform(0.2, 2.0), random.uniform(0.5, 2.5), random.randrange(100))
        for kind in random.sample(kinds, len(kinds))
    ]


def _work_s(random: Random) -> float:
    return random.uniform(0.1, 0.3) if random.random() < 0.01 else 0.0
