"""Requests a second and answer times: our ingress with all its checks beside the least that is as durable.

Both run alone on one real broker, one after the other; the sender is a process of its own.
"""

import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from deploy.local.ports import Ports
from tests.bench.http_load import Outcome, Plan
from tests.support.broker import make_topics
from tests.support.role_process import RoleProcess, role_processes
from tests.support.stack import ROOT, free_port, kafka_node, temporary_folder
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants

SECONDS: Final = 6.0
CLOSED: Final = tuple((connections, body) for connections in (64, 1000) for body in (100, 1024))
OPEN_PER_S: Final = 1000.0
OPEN_CONNECTIONS: Final = 256
OPEN_TURNS: Final = 3
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    name: str
    pid: int
    port: int
    path: str

    def measure(self) -> dict[str, float]:
        """Requests a second of each closed loop."""
        self._load(8, 100)
        rates = {}
        for connections, body_bytes in CLOSED:
            case = f"{connections} connections, {body_bytes} B"
            rates[case] = self._show(case, connections, body_bytes)
        for _ in range(OPEN_TURNS):
            self._show(f"open loop {OPEN_PER_S:.0f}/s, 100 B", OPEN_CONNECTIONS, 100, OPEN_PER_S)
        return rates

    def _load(self, connections: int, body_bytes: int, rate_per_s: float = 0.0) -> Outcome:
        plan = Plan(self.port, self.path, connections, body_bytes, SECONDS, rate_per_s)
        command = [sys.executable, "-m", "tests.bench.http_load", msgspec.json.encode(plan).decode()]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120, cwd=ROOT)
        return msgspec.json.decode(done.stdout, type=Outcome)

    def _show(self, case: str, connections: int, body_bytes: int, rate_per_s: float = 0.0) -> float:
        began_s = self._cpu_s()
        outcome = self._load(connections, body_bytes, rate_per_s)
        cpu_us = 1e6 * (self._cpu_s() - began_s) / sum(outcome.statuses.values())
        print(
            f"{self.name:6} {case:26} {outcome.per_s:8,.0f}/s  p50 {outcome.p50_ms:7.2f}  "
            f"p99 {outcome.p99_ms:7.2f}  max {outcome.max_ms:7.1f} ms  {cpu_us:6.1f} µs CPU  "
            f"{outcome.statuses}",
            flush=True,
        )
        return outcome.per_s

    def _cpu_s(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


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
    await make_topics(bootstrap, bare=4)
    await publish_tenants(bootstrap, customer)


def main() -> None:
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"load before: {os.getloadavg()[0]:.1f}")
    ports, customer = Ports(), new_customer()
    with kafka_node() as node, temporary_folder("bench") as folder:
        asyncio.run(prepare(node.bootstrap, customer))
        with bare(node.bootstrap, free_port(ports)) as server:
            theirs = server.measure()
        with ours(node.bootstrap, free_port(ports), customer, folder) as server:
            rates = server.measure()
    ports.close()
    for case, per_s in rates.items():
        print(f"{case}: {100 * per_s / theirs[case]:.0f} % of the bare handler's rate")


if __name__ == "__main__":
    main()
