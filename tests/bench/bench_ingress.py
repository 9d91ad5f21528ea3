"""Requests a second and answer times: our ingress with all its checks beside the least that is as durable.

All run alone on one real broker, one after the other; the sender is a process of its own. Peers, programs by
others with their own defaults, are measured when they are installed: see tests/bench/peers/README.md.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
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
OPEN: Final = (Case(256, 100, 1000.0),) * 3
BARE: Final = "bare"
ROW: Final = "{:6} {:28} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}  {}"
TITLES: Final = ("server", "load", "1/s", "of bare", "p50 ms", "p99 ms", "max ms", "CPU µs", "answers")


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    peers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Prints each row as soon as it is measured. The bare handler comes first: the others refer to it."""

    seconds: float
    bare_per_s: dict[str, float] = field(default_factory=dict)

    def add(self, server: Server, cases: Sequence[Case]) -> None:
        server.measure(WARM_UP, self.seconds)
        for case in cases:
            figures = server.measure(case, self.seconds)
            if server.name == BARE:
                self.bare_per_s[case.name] = figures.outcome.per_s
            print(ROW.format(*self._row(server.name, case, figures)), flush=True)

    def _row(self, name: str, case: Case, figures: Figures) -> tuple[str, ...]:
        outcome = figures.outcome
        share = outcome.per_s / self.bare_per_s[case.name]
        return (
            name,
            case.name,
            f"{outcome.per_s:,.0f}",
            f"{share:.0%}",
            f"{outcome.p50_ms:.2f}",
            f"{outcome.p99_ms:.2f}",
            f"{outcome.max_ms:.1f}",
            f"{figures.cpu_us:.1f}",
            " ".join(f"{status}: {count:,}" for status, count in sorted(outcome.statuses.items())),
        )


@contextmanager
def bare(bootstrap: str, port: int) -> Iterator[Server]:
    arguments = [str(port), bootstrap, "bare"]
    command = [sys.executable, "-m", "tests.bench.bare_ingress", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            yield Server(BARE, process.pid, port, "/webhook/u/any")
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
    table, ports = Table(options.seconds), Ports()
    print(ROW.format(*TITLES), flush=True)
    with bare(bootstrap, free_port(ports)) as server:
        table.add(server, (*FEW, *MANY, *OPEN))
    with ours(bootstrap, free_port(ports), customer, folder) as server:
        table.add(server, (*FEW, *MANY, *OPEN))
    for name in options.peers:
        with PEERS[name].server(Site(bootstrap, name, folder)) as server:
            table.add(server, (*FEW, *OPEN))
    ports.close()


def options_of() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
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
        compare(node.bootstrap, folder, customer, Options(options.seconds, present))


if __name__ == "__main__":
    main()
