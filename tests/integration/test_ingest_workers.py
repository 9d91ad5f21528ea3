"""Several ingress processes on one port: restarts that no sender notices."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest_asyncio

from deploy.local.ports import Ports
from schemas.topics import WEBHOOKS_OVERFLOW, WEBHOOKS_RAW
from tests.support.http import post
from tests.support.processes import descendants, survivors
from tests.support.stack import ROOT, free_port
from tests.support.tenants import Customer, create_local_topics, new_customer, publish_tenants
from tests.support.topiclog import open_topic_log
from tests.support.waiting import eventually

WORKERS = 2
STOP_S = 20


@dataclass(frozen=True)
class Ingest:
    """A parent with its workers."""

    process: asyncio.subprocess.Process
    port: int
    operations_port: int

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.operations_port}/{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def until_ready(self) -> None:
        async def ready() -> bool:
            try:
                return (await self.get("ready"))[0] == 200
            except aiohttp.ClientError:
                return False

        await eventually(ready)

    def workers(self) -> set[int]:
        """Process ids."""
        return {pid for pid, command in descendants(self.process.pid).items() if "spawn_main" in command}


@asynccontextmanager
async def ingest(bootstrap: str, state: Path, **variables: str) -> AsyncIterator[Ingest]:
    ports = Ports()
    port, operations_port = free_port(ports), free_port(ports)
    values = {
        "KAFKA_BOOTSTRAP": bootstrap,
        "INGEST_PORT": str(port),
        "OPERATIONS_PORT": str(operations_port),
        "INGEST_STATE_DIRECTORY": str(state),
        "ALERTS_ENV_FILE": "",
        "LOG_FORMAT": "json",
        "PATH": "/usr/bin:/bin",
        **variables,
    }
    alerts = Path(sys.executable).with_name("alerts")
    process = await asyncio.create_subprocess_exec(
        alerts, "ingest", "--workers", str(WORKERS), env=values, cwd=ROOT
    )
    try:
        yield Ingest(process, port, operations_port)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), STOP_S)
        ports.close()


@pytest_asyncio.fixture
async def customer(kafka_bootstrap: str) -> Customer:
    await create_local_topics(kafka_bootstrap)
    customer = new_customer()
    await publish_tenants(kafka_bootstrap, customer)
    return customer


@dataclass
class Load:
    """Senders that post one alert after the other, some on a connection each, some on one they keep."""

    url: str
    accepted: list[str] = field(default_factory=list)
    trouble: Counter[str] = field(default_factory=Counter)
    stopping: bool = False

    async def run(self, senders: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(senders):
                group.create_task(self._send(keeps=number % 2 == 0))

    async def _send(self, *, keeps: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=not keeps)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not self.stopping:
                try:
                    async with session.post(self.url, data=b"BUY") as answer:
                        body = await answer.json()
                except (aiohttp.ClientError, OSError) as error:
                    self.trouble[type(error).__name__] += 1
                    continue
                if answer.status == 200:
                    self.accepted.append(body["signal_id"])
                else:
                    self.trouble[str(answer.status)] += 1
                await asyncio.sleep(0.005)


async def ids_on_topics(bootstrap: str, customer: Customer) -> set[str]:
    """Of both lanes: the load is more than the tenant's burst."""
    ids: set[str] = set()
    for topic in (WEBHOOKS_RAW, WEBHOOKS_OVERFLOW):
        async with open_topic_log(bootstrap, topic.name) as log:
            ids |= {dict(record.headers)["signal_id"].decode() for record in await log.of(customer.key)}
    return ids


async def test_workers_are_replaced_under_load_and_no_sender_notices(
    kafka_bootstrap: str, customer: Customer, tmp_path: Path
) -> None:
    """No connection is refused or reset, every call is answered 200, and all alerts are there."""
    async with ingest(kafka_bootstrap, tmp_path) as served:
        await served.until_ready()
        load = Load(f"http://127.0.0.1:{served.port}{customer.path}")
        running = asyncio.create_task(load.run(8))
        await eventually(lambda: enough(load, 50))
        before = served.workers()
        served.process.send_signal(signal.SIGHUP)
        await eventually(lambda: all_new(served, before))
        seen = len(load.accepted)
        await eventually(lambda: enough(load, seen + 50))
        load.stopping = True
        await running
        # a worker that just started spools until its producer has
        await eventually(lambda: all_there(kafka_bootstrap, customer, load))
    assert load.trouble == Counter()
    assert len(load.accepted) == len(set(load.accepted))


async def all_there(bootstrap: str, customer: Customer, load: Load) -> bool:
    return set(load.accepted) == await ids_on_topics(bootstrap, customer)


async def enough(load: Load, accepted: int) -> bool:
    return len(load.accepted) >= accepted


async def all_new(served: Ingest, before: set[int]) -> bool:
    now = served.workers()
    return len(now) == WORKERS and not now & before


async def test_a_killed_worker_is_replaced_and_the_port_stays_open(
    kafka_bootstrap: str, customer: Customer, tmp_path: Path
) -> None:
    """What waits to be accepted is accepted by the other one."""
    async with ingest(kafka_bootstrap, tmp_path) as served:
        await served.until_ready()
        victim = min(served.workers())
        os.kill(victim, signal.SIGKILL)
        answers = [await post(served.port, customer.path, b"BUY") for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        await eventually(lambda: replaced(served, victim))
        await served.until_ready()
        # a worker that is ready has told its numbers within its next turn
        await eventually(lambda: has_told(served, 'alerts_directory_tenants{worker="1"}'))
        _status, text = await served.get("metrics")
        assert text.count("# TYPE alerts_directory_tenants gauge") == 1


async def has_told(served: Ingest, sample: str) -> bool:
    status, text = await served.get("metrics")
    return status == 200 and sample in text


async def replaced(served: Ingest, victim: int) -> bool:
    return len(served.workers()) == WORKERS and victim not in served.workers()


async def test_workers_end_with_their_parent(
    kafka_bootstrap: str, customer: Customer, tmp_path: Path
) -> None:
    """Also when it is killed: nobody would watch them."""
    async with ingest(kafka_bootstrap, tmp_path) as served:
        await served.until_ready()
        assert (await post(served.port, customer.path, b"BUY")).status == 200
        workers = descendants(served.process.pid)
        served.process.kill()
        await served.process.wait()
        assert await asyncio.to_thread(survivors, workers, STOP_S) == {}


async def test_the_limits_are_shared_between_the_workers(
    kafka_bootstrap: str, customer: Customer, tmp_path: Path
) -> None:
    """Two workers grant a ceiling of 60 alerts at once together, not each."""
    async with ingest(kafka_bootstrap, tmp_path, INGEST_CEILING_PER_S="1") as served:
        await served.until_ready()
        answers = await asyncio.gather(*(post(served.port, customer.path, b"BUY") for _ in range(150)))
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) == {200, 429}
        assert 30 <= statuses[200] <= 75
