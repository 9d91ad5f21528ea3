"""`deploy/backup/backup.sh` and `alerts offsets` on real servers: nothing that was accepted is missing."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.postgres import PostgresCluster
from runtime.offsets import STORE_GROUPS, SavedOffsets, decode_offsets, encode_offsets
from runtime.postgres import open_pool
from runtime.process import ProcessContext
from runtime.publisher import KafkaPublisher, Message, open_publisher
from runtime.settings import LoggingSettings, OperationsSettings, PostgresSettings
from schemas.codec import encode
from schemas.groups import GROUPS
from schemas.headers import webhook_headers
from schemas.records import CaptureEventKind, Picture, Signal
from schemas.topics import CAPTURE_EVENTS, SIGNALS
from sinks.command import serve_sink
from sinks.settings import SinkSettings
from tests.support.broker import admin_of, committed, lag, make_topics, produce
from tests.support.signals import metadata_of, new_event, new_signal
from tests.support.stack import ROOT, Databases, postgres_cluster
from tests.support.tenants import Customer, create_local_topics, insert_tenant, kafka_settings, new_customer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT: Final = ROOT / "deploy/backup/backup.sh"
PASSWORD: Final = "postgres-test-password"
ROLE: Final = "backup_test_role"
GROUP: Final = GROUPS[SIGNALS]
TABLES: Final = (
    "users",
    "user_config",
    "user_usage",
    "signals",
    "audit_logs",
    "screenshots",
    "signal_screenshots",
)
# when a row was written, and numbers that must be new after a restore
_ANEW: Final = {
    "created_at",
    "updated_at",
    "capture_requested_at",
    "sequence",
    "revision",
    "published_revision",
}

Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Said:
    """How a command ended, and all it said."""

    code: int
    text: str


@dataclass(frozen=True)
class Store:
    """A broker and a database, between which a test starts the sink."""

    bootstrap: str
    url: str
    publisher: KafkaPublisher
    customer: Customer

    def on(self, url: str) -> "Store":
        """The same topics, another database."""
        return Store(self.bootstrap, url, self.publisher, self.customer)

    @asynccontextmanager
    async def sink(self) -> AsyncIterator[None]:
        settings = SinkSettings(
            kafka_settings(self.bootstrap),
            PostgresSettings.model_validate({"url": self.url}),
            OperationsSettings.model_validate({}),
            LoggingSettings.model_validate({}),
        )
        context = ProcessContext()
        async with serve_sink(settings, context):
            yield
        assert not context.failed.done()

    async def send(self, count: int) -> list[Signal]:
        """New signals, on the topic."""
        signals = [new_signal(self.customer) for _ in range(count)]
        await self.publisher.publish(
            [
                Message(SIGNALS.name, self.customer.key, encode(one), webhook_headers(metadata_of(one)))
                for one in signals
            ]
        )
        return signals

    async def capture(self, signals: list[Signal]) -> None:
        """A picture for each, as workers report it."""
        for signal in signals:
            captured_at = signal.received_at + timedelta(seconds=1)
            picture = Picture(f"{signal.signal_id}.png", 10, 1920, 1080, captured_at)
            events = [
                new_event(signal, CaptureEventKind.STARTED),
                new_event(signal, CaptureEventKind.COMPLETED, picture=picture),
            ]
            await self.publisher.publish(
                [Message(CAPTURE_EVENTS.name, self.customer.key, encode(event), []) for event in events]
            )

    async def until_read(self, topic: str) -> None:
        async def is_read() -> bool:
            return await lag(self.bootstrap, GROUP, topic) == 0

        await eventually(is_read)

    async def run(self, *words: str | Path) -> Said:
        """A command with this broker and this database."""
        process = await asyncio.create_subprocess_exec(
            *words,
            env={
                **os.environ,  # noqa: TID251 - a process's edge
                "ALERTS_ENV_FILE": "",
                "KAFKA_BOOTSTRAP": self.bootstrap,
                "DATABASE_URL": self.url,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _none = await process.communicate()
        assert PASSWORD.encode() not in output
        return Said(process.returncode or 0, output.decode())

    async def offsets(self, *words: str | Path) -> Said:
        return await self.run(ROOT / ".venv/bin/alerts", "offsets", *words)

    async def rows(self) -> Rows:
        """Every row of the tables by its key, without what is new after a restore."""
        connection = await asyncpg.connect(self.url)
        try:
            tables = {table: await connection.fetch(f"SELECT * FROM {table}") for table in TABLES}  # noqa: S608 - literals
        finally:
            await connection.close()
        return {
            table: sorted(
                ({key: value for key, value in row.items() if key not in _ANEW} for row in rows), key=repr
            )
            for table, rows in tables.items()
        }


@dataclass(frozen=True)
class Backup:
    """A finished one, and the rows as they were long after it."""

    path: Path
    later: Rows


@pytest.fixture(scope="module")
def fresh_cluster() -> Iterator[PostgresCluster]:
    """Another server, without any role of ours."""
    with postgres_cluster() as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(own_bootstrap: str, postgres_url: str) -> AsyncIterator[Store]:
    await create_local_topics(own_bootstrap)
    customer = new_customer()
    async with (
        open_pool(PostgresSettings.model_validate({"url": postgres_url}), "test") as pool,
        open_publisher(kafka_settings(own_bootstrap), "test") as publisher,
    ):
        await insert_tenant(pool, customer)
        await pool.execute(f"CREATE ROLE {ROLE} NOLOGIN; GRANT SELECT ON signals TO {ROLE}")
        yield Store(own_bootstrap, postgres_url, publisher, customer)
        await pool.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backup(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """Taken while signals and pictures keep coming, before, during and after it."""
    folder = tmp_path_factory.mktemp("backups")
    async with store.sink():
        before = await store.send(40)
        await store.until_read(SIGNALS.name)
        await store.capture(before[:20])
        dumping = asyncio.create_task(store.run(SCRIPT, "dump", folder))
        during = []
        while not dumping.done():
            during += await store.send(5)
            await asyncio.wait({dumping}, timeout=0.05)
        said = await dumping
        assert said.code == 0, said.text
        after = await store.send(40)
        await store.until_read(SIGNALS.name)
        await store.capture([*before[20:], *during[::2], *after[::2]])
        await store.until_read(CAPTURE_EVENTS.name)
    later = await store.rows()
    assert len(later["signals"]) == len([*before, *during, *after])
    assert len(later["signal_screenshots"]) > 40
    [path] = _files(folder)
    return Backup(path, later)


async def test_a_restored_store_reads_again_what_came_after_the_dump(
    store: Store, backup: Backup, fresh_cluster: PostgresCluster
) -> None:
    """On a new server, roles included: every signal and picture ever accepted, once, as it was before."""
    restored = store.on(fresh_cluster.url())
    said = await restored.run(SCRIPT, "restore", backup.path)
    assert said.code == 0, said.text
    dumped = await restored.rows()
    assert len(dumped["signals"]) < len(backup.later["signals"])
    async with restored.sink():
        await restored.until_read(SIGNALS.name)
    said = await restored.offsets("restore", backup.path / "offsets.json", "--topic", CAPTURE_EVENTS.name)
    assert said.code == 0, said.text
    async with restored.sink():
        await restored.until_read(CAPTURE_EVENTS.name)
    assert await restored.rows() == backup.later
    assert await _number_of(restored, "SELECT count(*) FROM pg_roles WHERE rolname = $1", ROLE) == 1
    # what readers of the topics have seen is older than what the restored database says
    highest = "SELECT max(sequence) FROM signals"
    assert await _number_of(restored, highest) > await _number_of(store, highest) + 10**6
    assert await _number_of(restored, "SELECT min(published_revision) FROM users") > 10**6


async def test_a_group_that_works_is_left_alone(store: Store, backup: Backup) -> None:
    """Its members would commit over what was set."""
    before = await committed(store.bootstrap, GROUP, SIGNALS.name)
    async with store.sink():
        said = await store.offsets("restore", backup.path / "offsets.json", "--wait", "0")
    assert said.code == 1
    assert f"{GROUP} has 1 running members: stop every process" in said.text
    assert await committed(store.bootstrap, GROUP, SIGNALS.name) == before


async def test_a_database_that_is_not_empty_is_left_alone(store: Store, backup: Backup) -> None:
    """A restore never mixes with what is there."""
    said = await store.run(SCRIPT, "restore", backup.path)
    assert said.code == 1
    assert "the database is not empty" in said.text
    assert await store.rows() == backup.later


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: os.truncate(path / "database.dump", 100), "is damaged"),
        (lambda path: (path / "MANIFEST").unlink(), "has no MANIFEST"),
        (lambda path: os.truncate(path / "MANIFEST", 200), "does not name"),
        (lambda path: (path / "roles.sql").unlink(), "is damaged"),
    ],
)
async def test_a_backup_that_is_not_whole_is_refused(
    store: Store, backup: Backup, tmp_path: Path, damage: Any, told: str
) -> None:
    """Before anything is asked of a server."""
    broken = tmp_path / "broken"
    shutil.copytree(backup.path, broken)
    damage(broken)
    said = await store.on("postgresql://127.0.0.1:1/none").run(SCRIPT, "restore", broken)
    assert (said.code, told in said.text) == (1, True), said.text


async def test_a_dump_that_fails_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    """What has a backup's name is a whole backup."""
    said = await store.on("postgresql://nobody:wrong@127.0.0.1:1/none").run(SCRIPT, "dump", tmp_path)
    assert said.code != 0
    assert _files(tmp_path) == []


async def test_rows_that_a_policy_hides_are_not_left_out_in_silence(
    store: Store, databases: Databases, tmp_path: Path
) -> None:
    """A dump by a role that sees only some tenants would look like a backup."""
    with databases.database() as url:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                "CREATE ROLE backup_reader LOGIN PASSWORD 'reader-password';"
                "GRANT SELECT ON ALL TABLES IN SCHEMA public TO backup_reader;"
                "CREATE TABLE tenants_rows (id int); ALTER TABLE tenants_rows ENABLE ROW LEVEL SECURITY;"
                "CREATE POLICY first_only ON tenants_rows TO backup_reader USING (id = 1);"
            )
            reader = url.replace(f"alerts:{PASSWORD}@", "backup_reader:reader-password@")
            said = await store.on(reader).run(SCRIPT, "dump", tmp_path)
            await connection.execute("DROP OWNED BY backup_reader; DROP ROLE backup_reader")
        finally:
            await connection.close()
    assert said.code == 1
    assert "tenants_rows" in said.text
    assert _files(tmp_path) == []


async def test_records_that_retention_deleted_are_told(store: Store, tmp_path: Path) -> None:
    """Nothing is set until the loss is accepted; then the group goes on with what is left."""
    group, place, file = "test.deleted", TopicPartition("deleted", 0), tmp_path / "offsets.json"
    await make_topics(store.bootstrap, deleted=1)
    await produce(store.bootstrap, "deleted", [b"record"] * 10)
    await _write(store, file, group, 3)
    async with admin_of(store.bootstrap) as admin:
        await admin.delete_records({place: RecordsToDelete(6)})
    refused = await store.offsets("restore", file)
    assert refused.code == 1
    assert "LOST test.deleted deleted 0: up to 3 records from 3 on were deleted by retention" in refused.text
    assert await committed(store.bootstrap, group, "deleted") == 0
    tried = await store.offsets("restore", file, "--accept-loss", "--dry-run")
    assert (tried.code, await committed(store.bootstrap, group, "deleted")) == (0, 0), tried.text
    accepted = await store.offsets("restore", file, "--accept-loss")
    assert (accepted.code, await committed(store.bootstrap, group, "deleted")) == (0, 6), accepted.text
    shown = await store.offsets("show", "--group", group)
    assert shown.text.splitlines()[-1].split() == [group, "deleted", "1", "4"]


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(store: Store, tmp_path: Path) -> None:
    """Its offsets are others, also where it has grown past the saved one."""
    group, file = "test.anew", tmp_path / "offsets.json"
    await _write(store, file, group, 3, topic="anew")
    await make_topics(store.bootstrap, anew=1)
    await produce(store.bootstrap, "anew", [b"record"] * 5)
    refused = await store.offsets("restore", file)
    assert (refused.code, "made anew" in refused.text) == (1, True), refused.text
    accepted = await store.offsets("restore", file, "--accept-loss")
    assert accepted.code == 0, accepted.text
    shown = await store.offsets("show", "--group", group)
    assert shown.text.splitlines()[-1].split() == [group, "anew", "1", "5"]


async def test_saved_offsets_are_those_of_the_group(store: Store, backup: Backup, tmp_path: Path) -> None:
    """All partitions, also those that were never committed; another group only when it is named."""
    saved = _read(backup.path / "offsets.json")
    assert tuple(saved.groups) == STORE_GROUPS
    assert set(saved.groups[GROUP][SIGNALS.name]) == set(range(SIGNALS.local_partitions))
    named = await store.offsets("save", tmp_path / "named.json", "--group", "test.nobody")
    assert "test.nobody: has committed nothing" in named.text
    unknown = await store.offsets("restore", tmp_path / "named.json", "--group", GROUP)
    assert (unknown.code, "not in the file" in unknown.text) == (1, True)


async def _write(store: Store, file: Path, group: str, offset: int, topic: str = "deleted") -> None:
    """As a save of this group would have."""
    said = await store.offsets("save", file, "--group", group)
    assert said.code == 0, said.text
    _replace(file, {group: {topic: {0: offset}}})


def _replace(file: Path, groups: dict[str, dict[str, dict[int, int]]]) -> None:
    file.write_bytes(encode_offsets(msgspec.structs.replace(_read(file), groups=groups)))


def _read(file: Path) -> SavedOffsets:
    return decode_offsets(file.read_bytes())


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def _number_of(store: Store, query: str, *arguments: object) -> int:
    connection = await asyncpg.connect(store.url)
    try:
        return int(await connection.fetchval(query, *arguments))
    finally:
        await connection.close()
