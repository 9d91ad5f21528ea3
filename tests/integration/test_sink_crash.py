"""A sink process killed between commit and acknowledgement: all is done again, nothing skipped."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_value
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from runtime.publisher import Message, open_publisher
from schemas.codec import decode
from schemas.groups import GROUPS
from schemas.plans import Plan
from schemas.records import CaptureRequest, Record, Signal, StoredSignal
from schemas.topics import CAPTURES, SIGNALS, SIGNALS_STORED
from tests.support.api import pool_of
from tests.support.broker import lag, read_all
from tests.support.quota import miscounted, set_quota
from tests.support.role_process import RoleProcess
from tests.support.signals import new_signal, signal_record
from tests.support.stack import kafka_node, run_apart
from tests.support.tenants import Customer, create_local_topics, insert_tenant, kafka_settings, new_customer
from tests.support.waiting import eventually

PENDING, PARKED_QUOTA = 5, 1


@dataclass(frozen=True)
class Site:
    """A broker, a database, and three tenants: with captures, without, above the quota."""

    bootstrap: str
    database_url: str
    customers: Sequence[Customer]

    def values(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "KAFKA_TOPIC_PROFILE": "local",
            "KAFKA_REPLICATION": "1",
            "DATABASE_URL": self.database_url,
        }

    async def prepare(self) -> None:
        async with pool_of(self.database_url) as pool:
            for customer in self.customers:
                await insert_tenant(pool, customer)
            await set_quota(pool, self.customers[2], PARKED_QUOTA)

    async def send(self, signals: Sequence[Signal]) -> None:
        """As the processors do."""
        async with open_publisher(kafka_settings(self.bootstrap), "test-crash") as publisher:
            records = [signal_record(signal) for signal in signals]
            await publisher.publish(
                [Message(SIGNALS.name, record.key, record.value, list(record.headers)) for record in records]
            )

    async def rows(self) -> dict[UUID, Any]:
        async with pool_of(self.database_url) as pool:
            return {row["id"]: row for row in await pool.fetch("SELECT * FROM signals")}

    async def execute(self, statement: str, *values: object) -> None:
        async with pool_of(self.database_url) as pool:
            await pool.execute(statement, *values)

    async def miscounted(self) -> int:
        async with pool_of(self.database_url) as pool:
            return await miscounted(pool)

    async def asked(self) -> Counter[UUID]:
        return await self._ids(CAPTURES[Plan.BASIC].name, CaptureRequest)

    async def announced(self) -> Counter[UUID]:
        return await self._ids(SIGNALS_STORED.name, StoredSignal)

    async def _ids(self, topic: str, kind: type[Record]) -> Counter[UUID]:
        """How often the topic names each signal of these tenants."""
        keys = {customer.key for customer in self.customers}
        records: list[Any] = [
            decode(record.value, kind)
            for record in await read_all(self.bootstrap, topic)
            if record.key in keys
        ]
        return Counter(record.signal_id for record in records)

    async def acknowledged(self) -> bool:
        return await lag(self.bootstrap, GROUPS[SIGNALS], SIGNALS.name) == 0


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A broker of its own: the sink's group reads everything that is sent."""
    with kafka_node() as node:
        run_apart(create_local_topics(node.bootstrap))
        yield node.bootstrap


@pytest.fixture
def site(bootstrap: str, database_url: str) -> Site:
    silent = new_customer(Plan.BASIC, captures_enabled=False)
    site = Site(bootstrap, database_url, [new_customer(Plan.BASIC), silent, new_customer(Plan.BASIC)])
    run_apart(site.prepare())
    return site


def stuck_sink(site: Site, moment: str, folder: Path) -> RoleProcess:
    role = RoleProcess("stuck-sink", ("sink",), site.values(), folder)
    command = (sys.executable, "-m", "tests.support.stuck_sink", moment)
    role.program = replace_value(role.program, arguments=command)
    return role


async def is_stuck(role: RoleProcess) -> bool:
    return '"stuck"' in role.log()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_sink_killed_around_its_publishing_skips_nothing(site: Site, tmp_path: Path, moment: str) -> None:
    """The next one asks for exactly the rows that are pending, announces every row, and counts none again."""
    signals = [new_signal(customer) for customer in site.customers for _ in range(PENDING)]
    run_apart(site.send(signals))
    first, second = (
        stuck_sink(site, moment, tmp_path),
        RoleProcess("sink", ("sink",), site.values(), tmp_path),
    )
    try:
        first.start()
        run_apart(eventually(lambda: is_stuck(first)))
        first.kill()
        committed = run_apart(site.rows())
        assert committed
        assert {row["capture_requested_at"] for row in committed.values()} == {None}
        asked, announced = run_apart(site.asked()), run_apart(site.announced())
        assert bool(announced) is (moment == "after")
        # a picture that came meanwhile
        done = min(committed, key=lambda signal_id: not is_pending(committed[signal_id]))
        run_apart(site.execute("UPDATE signals SET screenshot_status = 'completed' WHERE id = $1", done))
        second.start()
        second.until_ready()
        run_apart(eventually(site.acknowledged))
        rows = run_apart(site.rows())
        assert set(rows) == {signal.signal_id for signal in signals}
        pending = {signal_id for signal_id, row in rows.items() if is_pending(row)}
        assert run_apart(site.asked()) - asked == Counter(pending)
        assert run_apart(site.announced()) - announced == Counter(list(rows))
        assert {signal_id for signal_id, row in rows.items() if row["capture_requested_at"]} == pending
        assert run_apart(site.miscounted()) == 0
        assert second.terminate() == 0
    finally:
        first.close()
        second.close()


def is_pending(row: Any) -> bool:
    return bool(row["screenshot_status"] == "pending" and row["disposition"] == "stored")
