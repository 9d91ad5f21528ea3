"""Every alert that was answered 2xx is one row, whatever happens to Kafka and to the ingress meanwhile."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from deploy.local.ports import Ports
from runtime.postgres import open_pool
from runtime.settings import PostgresSettings
from tests.support.outage import FrailBroker, frail_broker
from tests.support.role_process import RoleProcess, role_processes
from tests.support.stack import Databases, free_port, run_apart
from tests.support.tenants import Customer, create_local_topics, insert_tenant, new_customer

SOAK = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
OUTAGE_S = 60.0 if SOAK else 6.0
RATE_PER_S = 200 if SOAK else 80
SENDER_PATIENCE_S = 3.0
CALM_S = 2.0
ACCEPTED_S = 30.0
SETTLED_S = 180.0 if SOAK else 60.0

Away = Callable[[FrailBroker], AbstractContextManager[None]]


@dataclass
class Load:
    """Alerts at a steady rate, each sent once. Those of an ingress that is away are not accepted."""

    url: str
    accepted: set[UUID] = field(default_factory=set)
    refused: int = 0
    unheard: int = 0
    late: int = 0
    stopping: bool = False

    def until_accepted(self, count: int) -> None:
        """Blocks; for another thread than the load's."""
        end_s = time.monotonic() + ACCEPTED_S  # noqa: TID251 - waits on other programs
        while len(self.accepted) < count:
            assert time.monotonic() < end_s, f"{len(self.accepted)} of {count} accepted"  # noqa: TID251 - likewise
            time.sleep(0.05)

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=SENDER_PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            number = 0
            began_at_s = time.monotonic()  # noqa: TID251 - paces real requests
            while not self.stopping:
                group.create_task(self._send(session, number))
                number += 1
                await asyncio.sleep(max(0.0, began_at_s + number / RATE_PER_S - time.monotonic()))  # noqa: TID251 - likewise

    async def _send(self, session: aiohttp.ClientSession, number: int) -> None:
        try:
            async with session.post(self.url, data=f"BINANCE:N{number}USDT 1.5 LONG") as answer:
                body = await answer.json()
        except TimeoutError:
            self.late += 1
        except (aiohttp.ClientError, OSError):
            self.unheard += 1
        else:
            if answer.status == 200:
                self.accepted.add(UUID(body["signal_id"]))
            else:
                self.refused += 1


@dataclass(frozen=True)
class Site:
    """Ingress, processors and sink as processes, with a broker that a test can take away."""

    broker: FrailBroker
    database_url: str
    ingest: RoleProcess
    url: str
    customer: Customer
    state: Path

    def until_remembered(self) -> None:
        """The tenant is in the snapshot with which the next ingress starts."""
        end_s = time.monotonic() + ACCEPTED_S  # noqa: TID251 - waits on another program
        key = str(self.customer.tenant.user_id).encode()
        while not any(key in path.read_bytes() for path in self.state.glob("*.snapshot")):
            assert time.monotonic() < end_s, "no snapshot"  # noqa: TID251 - likewise
            time.sleep(0.1)

    async def rows(self, table: str) -> list[UUID]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return [row["id"] for row in await connection.fetch(f"SELECT id FROM {table}")]  # noqa: S608 - a literal
        finally:
            await connection.close()

    def until_stored(self, accepted: set[UUID]) -> None:
        run_apart(self._until_stored(accepted))

    async def _until_stored(self, accepted: set[UUID]) -> None:
        async with asyncio.timeout(SETTLED_S):
            while missing := accepted - set(await self.rows("signals")):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.5 if len(missing) > 1 else 0.2)


@contextmanager
def site(databases: Databases, folder: Path) -> Iterator[Site]:
    customer = new_customer()
    with closing(Ports()) as ports, frail_broker() as broker, databases.database() as database_url:
        port = free_port(ports)
        run_apart(_prepare(broker.bootstrap, database_url, customer))
        kafka = {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "KAFKA_TOPIC_PROFILE": "local",
            "KAFKA_REPLICATION": "1",
        }
        web = {"INGEST_PORT": str(port), "INGEST_STATE_DIRECTORY": str(folder / "state")}
        ingest = RoleProcess("ingest", ("ingest",), {**kafka, **web}, folder)
        store = {**kafka, "DATABASE_URL": database_url}
        members = [
            RoleProcess("process", ("process",), {**kafka, "KAFKA_GROUP_INSTANCE_ID": "process"}, folder),
            RoleProcess(
                "overflow",
                ("process", "--lane", "overflow"),
                {**kafka, "KAFKA_GROUP_INSTANCE_ID": "overflow"},
                folder,
            ),
            RoleProcess("sink", ("sink",), {**store, "KAFKA_GROUP_INSTANCE_ID": "sink"}, folder),
        ]
        with role_processes(ingest, *members):
            yield Site(
                broker,
                database_url,
                ingest,
                f"http://127.0.0.1:{port}{customer.path}",
                customer,
                folder / "state",
            )


async def _prepare(bootstrap: str, database_url: str, customer: Customer) -> None:
    await create_local_topics(bootstrap)
    async with open_pool(PostgresSettings.model_validate({"url": database_url}), "test") as pool:
        await insert_tenant(pool, customer)


@contextmanager
def killed(broker: FrailBroker) -> Iterator[None]:
    """Dead, and started again afterwards."""
    broker.kill()
    yield
    broker.start()


def frozen(broker: FrailBroker) -> AbstractContextManager[None]:
    """Reachable, and answers nothing."""
    return broker.frozen()


@contextmanager
def loaded(here: Site) -> Iterator[Load]:
    """Alerts come all the time; the first of them have been accepted."""
    load = Load(here.url)
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(asyncio.run, load.run())
        try:
            load.until_accepted(RATE_PER_S)
            load.refused = 0
            yield load
        finally:
            load.stopping = True
            running.result(30)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("away", [killed, frozen] if SOAK else [frozen])
def test_an_outage_of_kafka_under_load(databases: Databases, tmp_path: Path, away: Away) -> None:
    """Nobody is refused or kept waiting, and every accepted alert is one row of signals and of audit."""
    with site(databases, tmp_path) as here:
        with loaded(here) as load:
            with away(here.broker):
                time.sleep(OUTAGE_S)
            time.sleep(CALM_S)
        assert (load.refused, load.late, load.unheard) == (0, 0, 0)
        assert_each_once(here, load)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("away", [killed, frozen] if SOAK else [killed])
def test_kill_9_of_the_ingress_in_an_outage_of_kafka(
    databases: Databases, tmp_path: Path, away: Away
) -> None:
    """What it had answered 2xx is on its disk, and the next one delivers it."""
    with site(databases, tmp_path) as here:
        with loaded(here) as load:
            here.until_remembered()
            with away(here.broker):
                time.sleep(OUTAGE_S / 2)
                in_the_outage = len(load.accepted)
                here.ingest.kill()
                here.ingest.start()
                load.until_accepted(in_the_outage + 1)
                time.sleep(OUTAGE_S / 2)
            time.sleep(CALM_S)
        assert load.unheard > 0
        assert_each_once(here, load)


def assert_each_once(here: Site, load: Load) -> None:
    here.until_stored(load.accepted)
    signals, audit = run_apart(here.rows("signals")), run_apart(here.rows("audit_logs"))
    assert len(signals) == len(set(signals))
    # there may be more: what was written, and answered too late or to nobody
    assert load.accepted <= set(signals)
    assert set(signals) <= set(audit)
