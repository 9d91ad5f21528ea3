"""From raw webhooks to rows with real processes, and the proof that nothing is lost or doubled on the way."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final
from uuid import UUID

from click.testing import CliRunner

from runtime.consumer_groups import commit_offsets
from runtime.environment import Environment
from runtime.ids import received_at_of
from runtime.postgres import Pool, open_pool
from runtime.publisher import Publisher, open_publisher
from runtime.settings import PostgresSettings
from schemas.groups import GROUPS
from schemas.records import CaptureEvent, CaptureEventKind
from schemas.topics import CAPTURE_EVENTS, DEADLETTERS, SIGNALS, SIGNALS_STORED, WEBHOOKS_RAW
from sinks.reconcile_command import command as reconcile_command
from tests.support.broker import lag, partitions_of, read_all
from tests.support.buried import webhook
from tests.support.capture_reports import answering_captures, beside, event_message
from tests.support.role_process import RoleProcess
from tests.support.tenants import (
    Customer,
    insert_tenant,
    kafka_settings,
    new_customer,
    publish_tenants,
)
from tests.support.waiting import eventually

SINK_GROUP: Final = GROUPS[SIGNALS]
_STARTED: Final = count()
_ROWS: Final = """
SELECT (to_jsonb(t) - '{updated_at,capture_requested_at}'::text[])::text AS row FROM "TABLE" AS t ORDER BY 1
"""
_ACCEPTED_EVERY_S: Final = 0.1


@dataclass
class StorePlace:
    """A broker and a database with all that was ever done there. `silent` tenants get no pictures."""

    bootstrap: str
    database_url: str
    folder: Path
    accepted: set[UUID] = field(default_factory=set)
    dead: set[UUID] = field(default_factory=set)
    silent: set[UUID] = field(default_factory=set)

    def values(self, **changes: str) -> dict[str, str]:
        """Variables of a role here."""
        return {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "KAFKA_TOPIC_PROFILE": "local",
            "KAFKA_REPLICATION": "1",
            "DATABASE_URL": self.database_url,
            **changes,
        }

    def role(self, name: str, **changes: str) -> RoleProcess:
        """Not started. Its log is its own."""
        return RoleProcess(f"{name}-{next(_STARTED)}", (name,), self.values(**changes), self.folder)


@dataclass(frozen=True)
class StorePipeline:
    """The place with clients of this test's loop."""

    place: StorePlace
    pool: Pool
    publisher: Publisher

    async def customers(self, number: int, **changes: object) -> list[Customer]:
        """Known to the database and on the topic."""
        made = [new_customer(**changes) for _ in range(number)]  # type: ignore[arg-type]  # fields by name
        for customer in made:
            await insert_tenant(self.pool, customer)
        await publish_tenants(self.place.bootstrap, *made)
        ids = [customer.tenant.user_id for customer in made]
        await self.pool.execute(
            "UPDATE users SET published_revision = revision WHERE id = ANY($1::uuid[])", ids
        )
        return made

    async def accept(self, customers: Sequence[Customer], ticker: str = "BINANCE:BTCUSDT") -> list[UUID]:
        """One alert of each, as the ingress accepts it: on the topic when this returns."""
        body = json.dumps({"ticker": ticker, "price": 67890.5, "action": "buy"}).encode()
        messages = [webhook(customer, body) for customer in customers]
        ids = [UUID(dict(message.headers)["ce_id"].decode()) for message in messages]
        await self.publisher.publish(messages)
        self.place.accepted.update(ids)
        return ids

    @asynccontextmanager
    async def flowing(self, customers: Sequence[Customer], each: int = 3) -> AsyncIterator[None]:
        """Alerts of all customers for as long as the block lasts."""

        async def flow() -> None:
            while True:
                await asyncio.shield(self.accept([*customers] * each))
                await asyncio.sleep(_ACCEPTED_EVERY_S)

        async with beside(flow()):
            yield

    async def report(self, customer: Customer, kind: CaptureEventKind) -> None:
        """What a worker tells of the tenant's account, with any of its alerts."""
        user_id, plan = customer.tenant.user_id, customer.tenant.plan
        signal_id = await self.pool.fetchval("SELECT id FROM signals WHERE user_id = $1 LIMIT 1", user_id)
        event = CaptureEvent(
            kind=kind,
            signal_ids=[signal_id],
            user_id=user_id,
            plan=plan,
            request_no=1,
            occurred_at=received_at_of(signal_id),
            tries=1,
            fence=1,
            session_version=1,
        )
        await self.publisher.publish([event_message(event)])

    async def settled(self) -> None:
        """Until every record is acknowledged and every picture was reported."""
        for group, topic in [(GROUPS[WEBHOOKS_RAW], WEBHOOKS_RAW), (SINK_GROUP, SIGNALS)]:
            await self._until_committed(group, topic.name)
        await eventually(self._has_pictures)
        await self._until_committed(SINK_GROUP, CAPTURE_EVENTS.name)
        await self._until_committed(SINK_GROUP, SIGNALS.name)

    async def proved(self) -> None:
        """Settled, and each accepted alert has exactly one outcome wherever one can look."""
        place = self.place
        await self.settled()
        rows = await self.pool.fetch("SELECT id, user_id, disposition, screenshot_status FROM signals")
        ids = {row["id"] for row in rows}
        assert ids == place.accepted - place.dead
        assert len(ids) == len(rows)
        assert {row["id"] for row in await self.pool.fetch("SELECT id FROM audit_logs")} == ids
        used = await self.pool.fetch("SELECT user_id, sum(signals_used) AS used FROM user_usage GROUP BY 1")
        stored = Counter(row["user_id"] for row in rows if row["disposition"] == "stored")
        assert {row["user_id"]: row["used"] for row in used if row["used"]} == stored
        assert await self.ids_on(DEADLETTERS.name) == place.dead
        assert ids <= await self.ids_on(SIGNALS_STORED.name)
        await self._reconciled(len(rows))

    async def ids_on(self, topic: str) -> set[UUID]:
        records = await read_all(self.place.bootstrap, topic)
        return {UUID(dict(record.headers)["ce_id"].decode()) for record in records}

    async def dump(self) -> dict[str, list[str]]:
        """Every row of every table as text, in order; without the times of updates."""
        tables = await self.pool.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        return {row["relname"]: await self._rows(row["relname"]) for row in tables}

    async def rewind(self, *topics: str) -> None:
        """The sink, which must not run, has read nothing of the topics."""
        bootstrap = self.place.bootstrap
        places = [place for topic in topics for place in await partitions_of(bootstrap, topic)]
        await commit_offsets(kafka_settings(bootstrap), SINK_GROUP, dict.fromkeys(places, 0))

    async def _rows(self, table: str) -> list[str]:
        query = _ROWS.replace("TABLE", table)
        return [row["row"] for row in await self.pool.fetch(query)]

    async def _reconciled(self, rows: int) -> None:
        runner, environment = CliRunner(), Environment(self.place.values())
        result = await asyncio.to_thread(runner.invoke, reconcile_command, ["--json"], obj=environment)
        assert result.exit_code == 0, result.output
        total = json.loads(result.stdout)["total"]
        assert total["accepted"] == len(self.place.accepted)
        assert total["stored"] + total["parked"] == rows
        assert total["dead"] == len(self.place.dead)

    async def _until_committed(self, group: str, topic: str) -> None:
        async def nothing_left() -> bool:
            return await lag(self.place.bootstrap, group, topic) == 0

        await eventually(nothing_left)

    async def _has_pictures(self) -> bool:
        waiting = await self.pool.fetchval(
            "SELECT count(*) FROM signals WHERE disposition = 'stored'"
            " AND screenshot_status IN ('pending', 'processing') AND user_id <> ALL($1::uuid[])",
            self.place.silent,
        )
        return bool(waiting == 0)


@asynccontextmanager
async def open_pipeline(place: StorePlace) -> AsyncIterator[StorePipeline]:
    """With a worker that reports a picture for each request."""
    settings = PostgresSettings.model_validate({"url": place.database_url})
    async with (
        open_pool(settings, "test") as pool,
        open_publisher(kafka_settings(place.bootstrap), "test") as publisher,
        answering_captures(place.bootstrap, publisher, place.silent),
    ):
        yield StorePipeline(place, pool, publisher)


@asynccontextmanager
async def sink_of(place: StorePlace, **changes: str) -> AsyncIterator[RoleProcess]:
    """Started and ready; in the end it leaves in good order. The loop goes on meanwhile."""
    sink = place.role("sink", **changes)
    try:
        sink.start()
        await asyncio.to_thread(sink.until_ready)
        yield sink
        assert await asyncio.to_thread(sink.terminate) == 0
    finally:
        sink.close()
