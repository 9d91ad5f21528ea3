"""Requests a second and answer times: our ingress with all its checks beside the least that is as durable.

All are up beside one real broker and get each load in turn, several times over, one at a time: what else
happens on the machine then happens to all. The sender is a process of its own. Peers, programs by others with
their own defaults, are measured when they are installed: see tests/bench/peers/README.md.
"""

import argparse
import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from deploy.local.ports import Ports
from tests.bench.ingress_server import WARM_UP, Case, Figures, Server
from tests.bench.peers.roster import HOW_TO_INSTALL, PEERS, Site
from tests.bench.report import show_machine
from tests.support.broker import make_topics
from tests.support.role_process import RoleProcess, role_processes
from tests.support.stack import ROOT, free_port, kafka_node, temporary_folder
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants

FEW: Final = (Case(64, 100), Case(64, 1024))
MANY: Final = (Case(1000, 100), Case(1000, 1024))
OPEN: Final = Case(256, 100, 1000.0)
ROW: Final = "{:6} {:28} {:>8} {:>15} {:>8} {:>14} {:>8} {:>8}  {}"
TITLES: Final = ("server", "load", "1/s", "of bare", "p50 ms", "p99 ms", "max ms", "CPU µs", "answers")


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    turns: int
    peers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Turns:
    """What one server did with one load, turn by turn; `bare` is what the bare handler did beside it."""

    server: str
    case: Case
    figures: Sequence[Figures]
    bare: Sequence[Figures]

    def row(self) -> str:
        """Medians of the turns, and in brackets the least and the most."""
        outcomes = [figures.outcome for figures in self.figures]
        shares = [each.per_s / beside.outcome.per_s for each, beside in zip(outcomes, self.bare, strict=True)]
        statuses = sum((Counter(outcome.statuses) for outcome in outcomes), Counter[str]())
        return ROW.format(
            self.server,
            self.case.name,
            f"{median(outcome.per_s for outcome in outcomes):,.0f}",
            spread(shares, "{:.0%}"),
            f"{median(outcome.p50_ms for outcome in outcomes):.2f}",
            spread([outcome.p99_ms for outcome in outcomes], "{:.1f}"),
            f"{max(outcome.max_ms for outcome in outcomes):.1f}",
            f"{median(figures.cpu_us for figures in self.figures):.1f}",
            " ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items())),
        )


def spread(values: Sequence[float], form: str) -> str:
    middle, least, most = (form.format(value) for value in (median(values), min(values), max(values)))
    return f"{middle} ({least.removesuffix('%')}-{most.removesuffix('%')})"


def measure(servers: Sequence[Server], case: Case, options: Options) -> None:
    """One load for all, by turns. The first of them is the bare handler."""
    turns = [[server.measure(case, options.seconds) for server in servers] for _ in range(options.turns)]
    by_server = list(zip(*turns, strict=True))
    for server, figures in zip(servers, by_server, strict=True):
        print(Turns(server.name, case, figures, by_server[0]).row(), flush=True)


@contextmanager
def bare(bootstrap: str, port: int) -> Iterator[Server]:
    arguments = [str(port), bootstrap, "bare"]
    command = [sys.executable, "-m", "tests.bench.bare_ingress", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            yield Server("bare", process.pid, port, "/webhook/u/any")
        finally:
            process.kill()


@contextmanager
def ours(bootstrap: str, port: int, customer: Customer, folder: Path) -> Iterator[Server]:
    values = {
        "KAFKA_BOOTSTRAP": bootstrap,
        "INGEST_PORT": str(port),
        "INGEST_STATE_DIRECTORY": str(folder / "state"),
        "INGEST_CEILING_PER_S": "1000000",
    }
    role = RoleProcess("ingest", ("ingest",), values, folder)
    with role_processes(role):
        assert role.process is not None
        yield Server("ours", role.process.pid, port, customer.path)


async def prepare(bootstrap: str, customer: Customer) -> None:
    await create_local_topics(bootstrap)
    await make_topics(bootstrap, bare=4, **dict.fromkeys(PEERS, 4))
    await publish_tenants(bootstrap, customer)


def compare(bootstrap: str, folder: Path, customer: Customer, options: Options) -> None:
    print(ROW.format(*TITLES), flush=True)
    with closing(Ports()) as ports, ExitStack() as running:
        bare_server = running.enter_context(bare(bootstrap, free_port(ports)))
        our_server = running.enter_context(ours(bootstrap, free_port(ports), customer, folder))
        peers = [
            running.enter_context(PEERS[name].server(Site(bootstrap, name, folder))) for name in options.peers
        ]
        servers = [bare_server, our_server, *peers]
        for server in servers:
            server.measure(WARM_UP, options.seconds)
        for case in (*FEW, OPEN):
            measure(servers, case, options)
        for case in MANY:
            measure(servers[:2], case, options)


def options_of() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=5, help="of each load for each server")
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=list(PEERS), help="of the installed; no name: none"
    )
    # make gives its ARGS to every bench
    options, _others = parser.parse_known_args()
    return Options(**vars(options))


def main() -> None:
    options, customer = options_of(), new_customer()
    missing = [name for name in options.peers if not PEERS[name].installed]
    if missing:
        print(f"not installed and left out: {', '.join(missing)}; to install: {HOW_TO_INSTALL}")
    present = [name for name in options.peers if name not in missing]
    show_machine()
    with kafka_node() as node, temporary_folder("bench") as folder:
        asyncio.run(prepare(node.bootstrap, customer))
        compare(node.bootstrap, folder, customer, replace(options, peers=present))


if __name__ == "__main__":
    main()
