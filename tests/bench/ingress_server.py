"""A server under the load of the ingress bench, whoever's it is; the sender is a process of its own."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.bench.http_load import Outcome, Plan
from tests.bench.report import cpu_s_of
from tests.support.stack import ROOT

_DEADLINE_S: Final = 120


@dataclass(frozen=True, slots=True)
class Case:
    """`rate_per_s` 0: each connection sends the next request when it has its answer."""

    connections: int
    body_bytes: int
    rate_per_s: float = 0.0

    @property
    def name(self) -> str:
        if self.rate_per_s:
            return f"open loop {self.rate_per_s:.0f}/s, {self.body_bytes} B"
        return f"{self.connections} connections, {self.body_bytes} B"


WARM_UP: Final = Case(8, 100)


@dataclass(frozen=True, slots=True)
class Figures:
    outcome: Outcome
    cpu_us: float
    """Processor time of the server for each answer."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running process that takes a POST of any body."""

    name: str
    pid: int
    port: int
    path: str

    def measure(self, case: Case, seconds: float) -> Figures:
        """Returns when the last answer is there. Raises when the sender fails."""
        plan = Plan(self.port, self.path, case.connections, case.body_bytes, seconds, case.rate_per_s)
        command = [sys.executable, "-m", "tests.bench.http_load", msgspec.json.encode(plan).decode()]
        began_s = cpu_s_of(self.pid)
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, timeout=seconds + _DEADLINE_S, cwd=ROOT
        )
        cpu_s = cpu_s_of(self.pid) - began_s
        outcome = msgspec.json.decode(done.stdout, type=Outcome)
        return Figures(outcome, 1e6 * cpu_s / sum(outcome.statuses.values()))
