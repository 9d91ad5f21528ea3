"""Real Kafka and Postgres for the tests: real processes in a temporary folder, ended with the session."""

import asyncio
import itertools
import os
import random
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from pydantic import SecretStr

from deploy.local.child import Program, kill_group, launch
from deploy.local.errors import LocalError, NotReadyError
from deploy.local.kafka import KafkaNode, check_kafka
from deploy.local.ports import Ports, PortTakenError, PortWish
from deploy.local.postgres import SETTINGS, PostgresCluster
from sinks.migrate import migrate

ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARIES: Final = ROOT / ".local/opt/kafka/libs"

_START_DEADLINE_S: Final = 60
_STOP_DEADLINE_S: Final = 15
_TEMPLATE: Final = "alerts_template"
# hundreds of databases come and go: each would wake a vacuum
_QUICK: Final = {"fsync": "off", "synchronous_commit": "off", "autovacuum": "off"}
# below the range from which the kernel takes ports of outgoing connections
_LOWEST_PORT: Final = 20_000
_PORTS_PER_PROCESS: Final = 1_200
_PROCESSES: Final = 10

T = TypeVar("T")


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in an event loop of a thread of its own: the test's loop stays untouched."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(asyncio.run, coroutine).result()


def free_port(ports: Ports) -> int:
    """A port that no other process of this test run is given, also once the reservation is dropped.

    A program that reserves its ports itself gets them between the drop and its own reservation.
    """
    while True:
        number = next(_port_numbers())
        # a number that is in use now is passed over: the next one up is another call's
        with suppress(PortTakenError):
            return ports.grant(PortWish("TEST_PORT", number, chosen=number))


@cache
def _port_numbers() -> Iterator[int]:
    process = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")  # noqa: TID251 - the runner's
    lowest = _LOWEST_PORT + int(process) % _PROCESSES * _PORTS_PER_PROCESS
    numbers = itertools.cycle(range(lowest, lowest + _PORTS_PER_PROCESS))
    return itertools.islice(numbers, random.randrange(_PORTS_PER_PROCESS), None)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"alerts-{prefix}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running(program: Program, check: Callable[[], Awaitable[None]]) -> Iterator[subprocess.Popen[bytes]]:
    """The program, answering `check`; stopped at the end. Fails with its output when it does not answer."""
    process = launch(program)
    try:
        run_apart(answering(process, program, check))
        yield process
    finally:
        _stop(process, program)


@contextmanager
def kafka_node() -> Iterator[KafkaNode]:
    """A running broker without topics."""
    with closing(Ports()) as ports, temporary_folder("kafka") as folder:
        node = formatted_node(folder, ports)
        with running(node.program(), lambda: check_kafka(node.bootstrap)):
            yield node


def formatted_node(folder: Path, ports: Ports) -> KafkaNode:
    """Ready to be started, with its log in the folder. Its data is a copy: formatting takes a Java."""
    node = KafkaNode(folder / "node", LIBRARIES, free_port(ports), free_port(ports), folder / "log")
    for place, content in _formatted().items():
        path = node.folder / "data" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    properties = node.folder / "data/meta.properties"
    text = re.sub(r"(?m)^cluster\.id=.*", f"cluster.id={_new_cluster_id()}", properties.read_text())
    properties.write_text(text)
    run_apart(node.prepare())
    return node


@cache
def _formatted() -> dict[Path, bytes]:
    """The files of a node that never ran, by their place in its data."""
    with temporary_folder("kafka") as folder:
        node = KafkaNode(folder, LIBRARIES, 0, 0, folder / "log")
        run_apart(node.prepare())
        data = folder / "data"
        return {path.relative_to(data): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def _new_cluster_id() -> str:
    # the form that Kafka's own tool gives it, and with a first letter that is no option's
    return "t" + secrets.token_urlsafe(16)[:21]


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A running server with an empty database. Not crash-safe: it does not wait for the disk."""
    settings = {**SETTINGS, **_QUICK, "max_connections": "200"}
    with closing(Ports()) as ports, temporary_folder("postgres") as folder:
        cluster = PostgresCluster.open(
            folder / "cluster",
            free_port(ports),
            SecretStr("postgres-test-password"),
            folder / "log",
            settings,
        )
        try:
            run_apart(cluster.prepare())
            with running(cluster.program(), cluster.check):
                yield cluster
        finally:
            cluster.close()


class Databases:
    """Hands out migrated databases: migrations run once, every database is a copy of the result."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self._cluster = cluster
        self._count = 0
        run_apart(self._make_template())

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh migrated database, dropped at the end with all its connections."""
        self._count += 1
        name = f"test_{self._count}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')
        try:
            yield self._cluster.url(name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _make_template(self) -> None:
        await _execute(self._cluster.url("postgres"), f'CREATE DATABASE "{_TEMPLATE}"')
        await migrate(self._cluster.url(_TEMPLATE))

    def _execute(self, statement: str) -> None:
        run_apart(_execute(self._cluster.url("postgres"), statement))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def answering(
    process: subprocess.Popen[bytes], program: Program, check: Callable[[], Awaitable[None]]
) -> None:
    try:
        async with asyncio.timeout(_START_DEADLINE_S):
            while not await _answers(check):
                if process.poll() is not None:
                    raise LocalError(f"{program.name} ended:\n{program.log.read_text(errors='replace')}")
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise LocalError(f"{program.name} does not answer:\n{program.log.read_text()}") from error


async def _answers(check: Callable[[], Awaitable[None]]) -> bool:
    try:
        await check()
    except NotReadyError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes], program: Program) -> None:
    try:
        process.send_signal(program.stop_signal)
        process.wait(_STOP_DEADLINE_S)
    finally:
        kill_group(process)
