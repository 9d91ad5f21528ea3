"""The directory's snapshot before a real broker: away, another one, the same with another topic."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from runtime.directory import SNAPSHOT_INTERVAL_S, DirectoryReader, open_directory
from runtime.errors import TransientError
from runtime.postgres import Pool, open_pool
from runtime.process import ProcessContext
from runtime.publisher import open_publisher
from runtime.settings import PostgresSettings
from runtime.snapshot import Place, Snapshot, SnapshotFile
from schemas.codec import encode
from schemas.topics import TENANTS
from sinks.relay import TenantRelay
from tests.support.clock import FakeClock
from tests.support.outage import FrailBroker, frail_broker
from tests.support.relay import running, until_known
from tests.support.tenants import (
    Customer,
    create_local_topics,
    insert_tenant,
    kafka_settings,
    new_customer,
    publish_tenants,
)
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def broker() -> Iterator[FrailBroker]:
    with frail_broker() as broker:
        yield broker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshot" / "directory"


@asynccontextmanager
async def reading(
    broker: FrailBroker, path: Path | None, clock: FakeClock | None = None
) -> AsyncIterator[DirectoryReader]:
    context = ProcessContext(clock=clock or FakeClock())
    async with open_directory(kafka_settings(broker.bootstrap), context, "test", path) as reader:
        yield reader
        assert not context.failed.done()


async def until_current(reader: DirectoryReader) -> None:
    async def current() -> bool:
        with suppress(TransientError):
            await reader.confirm_current(2)
            return True
        return False

    await eventually(current)


def knows(reader: DirectoryReader, customer: Customer) -> bool:
    return reader.directory.by_token_hash(customer.tenant.token_hashes[0]) == customer.tenant


def load(path: Path) -> Snapshot:
    snapshot = SnapshotFile(path).load()
    assert snapshot is not None
    return snapshot


def writing(path: Path) -> int | None:
    """Tells one writing of the file from another."""
    return path.stat().st_ino if path.exists() else None


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


async def make_snapshot(broker: FrailBroker, path: Path, *customers: Customer) -> Snapshot:
    """Publish the customers and leave a reader's snapshot of them."""
    await create_local_topics(broker.bootstrap)
    await publish_tenants(broker.bootstrap, *customers)
    async with reading(broker, path) as reader:
        await until_current(reader)
    return load(path)


def plant(path: Path, customer: Customer, **changes: object) -> None:
    """A tenant in the snapshot who is not on the topic: known only as long as the snapshot counts."""
    snapshot = load(path)
    values = {name: getattr(snapshot.place, name) for name in Place.__struct_fields__}
    place = Place(**{**values, **changes})
    SnapshotFile(path).save(place, [*snapshot.records, encode(customer.tenant)])


async def remake_topic(broker: FrailBroker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([TENANTS.name])

        async def gone() -> bool:
            return TENANTS.name not in await admin.list_topics()

        await eventually(gone)
    finally:
        await admin.close()
    await create_local_topics(broker.bootstrap)


async def test_it_starts_while_kafka_is_away(broker: FrailBroker, path: Path) -> None:
    """Known tokens work, unknown ones are not yet unknown; what happened meanwhile is learnt afterwards."""
    known, later = new_customer(), new_customer()
    await make_snapshot(broker, path, known)
    broker.kill()
    async with reading(broker, path) as reader:
        assert knows(reader, known)
        with pytest.raises(TransientError):
            await reader.confirm_current(0.3)
        broker.start()
        await publish_tenants(broker.bootstrap, later)
        await until_current(reader)
        assert knows(reader, known)
        assert knows(reader, later)
    assert load(path).place.offset > load(path).place.last_offset


async def test_following_goes_on_where_the_snapshot_ends(broker: FrailBroker, path: Path) -> None:
    """What only the snapshot tells is still known when the directory is current."""
    planted, later = new_customer(), new_customer()
    before = await make_snapshot(broker, path, new_customer())
    plant(path, planted)
    async with reading(broker, path) as reader:
        await until_current(reader)
        assert reader.place() == before.place
        await publish_tenants(broker.bootstrap, later)
        await until_current(reader)
        assert knows(reader, planted)
        assert knows(reader, later)
    assert load(path).place.offset == before.place.offset + 1
    assert len(load(path).records) == len(before.records) + 2


@pytest.mark.parametrize("changes", [{"cluster_id": "another"}, {"topic": "another"}, {"partition": 1}])
async def test_the_snapshot_of_another_log_counts_until_kafka_answers(
    broker: FrailBroker, path: Path, changes: dict[str, object]
) -> None:
    """Then all is read anew, and the next snapshot is of this log."""
    planted, known = new_customer(), new_customer()
    before = await make_snapshot(broker, path, known)
    plant(path, planted, **changes)
    with broker.frozen():
        async with reading(broker, path) as reader:
            assert knows(reader, planted)
    async with reading(broker, path) as reader:
        await until_current(reader)
        assert not knows(reader, planted)
        assert knows(reader, known)
    assert load(path).place == before.place


@pytest.mark.parametrize("records", [0, 1, 50])
async def test_the_snapshot_of_a_deleted_topic_is_forgotten(
    broker: FrailBroker, path: Path, records: int
) -> None:
    """Also when the topic that was made anew is as long as the old one, or longer."""
    await create_local_topics(broker.bootstrap)
    await remake_topic(broker)
    gone = new_customer()
    await make_snapshot(broker, path, gone)
    await remake_topic(broker)
    customers = [new_customer() for _ in range(records)]
    await publish_tenants(broker.bootstrap, *customers)
    async with reading(broker, path) as reader:
        await until_current(reader)
        assert len(reader.directory) == records
        assert all(knows(reader, customer) for customer in customers)


async def test_a_topic_made_anew_under_a_reader_is_followed(broker: FrailBroker, path: Path) -> None:
    """Nobody is forgotten, and the next snapshot is of the new topic."""
    old, new = [new_customer(), new_customer()], new_customer()
    await create_local_topics(broker.bootstrap)
    await publish_tenants(broker.bootstrap, *old)
    async with reading(broker, path) as reader:
        await until_current(reader)
        await remake_topic(broker)
        await publish_tenants(broker.bootstrap, new)
        await until_known(reader, new.tenant.user_id)
        assert reader.log_no == 1
        assert all(knows(reader, customer) for customer in (*old, new))
    assert load(path).place.offset == 1


@asynccontextmanager
async def relayed(broker: FrailBroker, postgres_url: str) -> AsyncIterator[tuple[Pool, DirectoryReader]]:
    """A relay with its database, and what it reads of its own topic."""
    kafka, context = kafka_settings(broker.bootstrap), ProcessContext()
    await create_local_topics(broker.bootstrap)
    async with (
        open_pool(PostgresSettings.model_validate({"url": postgres_url}), "test") as pool,
        open_publisher(kafka, "test-relay") as publisher,
        open_directory(kafka, context, "test") as mirror,
        running(TenantRelay(pool, publisher, context.clock, context.metrics), mirror),
    ):
        yield pool, mirror


async def test_a_topic_made_anew_under_a_relay_is_filled_again(
    broker: FrailBroker, postgres_url: str
) -> None:
    """Without a restart of the sink: whoever starts now must know what was published long ago."""
    customer = new_customer()
    async with relayed(broker, postgres_url) as (pool, reader):
        await insert_tenant(pool, customer)
        await until_known(reader, customer.tenant.user_id)
        await remake_topic(broker)
        kafka = kafka_settings(broker.bootstrap)
        async with open_directory(kafka, ProcessContext(), "test-late") as late:
            await until_known(late, customer.tenant.user_id)


async def test_a_tenant_made_during_an_outage_is_never_unknown(
    broker: FrailBroker, path: Path, postgres_url: str
) -> None:
    """The directory may be back before the relay: nobody is told that the new token does not exist."""
    customer = new_customer()
    async with relayed(broker, postgres_url) as (pool, _mirror), reading(broker, path) as ingress:
        await until_current(ingress)
        broker.kill()
        await insert_tenant(pool, customer)
        broker.start()
        answers = [await lookup(ingress, customer)]
        while answers[-1] != "known":
            answers.append(await lookup(ingress, customer))
    assert "unknown" not in answers


async def lookup(reader: DirectoryReader, customer: Customer) -> str:
    """What the ingress makes of a token: the webhook asks in this order."""
    with suppress(TransientError):
        if knows(reader, customer):
            return "known"
        await reader.confirm_current(0.5)
        return "known" if knows(reader, customer) else "unknown"
    return "uncertain"


async def test_a_compacted_last_record_makes_it_read_anew(broker: FrailBroker, path: Path) -> None:
    """Whether the log is the same cannot be told: what is known counts until the topic has been read."""
    planted, known = new_customer(), new_customer()
    before = await make_snapshot(broker, path, known)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="hole")
    async with producer, producer.transaction():
        await producer.send_and_wait(TENANTS.name, encode(known.tenant), key=known.key)
    # behind the record of a transaction lies its end: an offset without a record
    hole = before.place.offset + 1
    plant(path, planted, offset=hole + 1, last_offset=hole)
    await publish_tenants(broker.bootstrap, known)
    async with reading(broker, path) as reader:
        assert knows(reader, planted)
        await until_current(reader)
        assert not knows(reader, planted)
        assert knows(reader, known)


async def test_it_is_saved_at_most_every_ten_seconds(broker: FrailBroker, path: Path) -> None:
    """While it runs, when something changed; not only at its end, which a kill would take away."""
    await create_local_topics(broker.bootstrap)
    clock = FakeClock()
    async with reading(broker, path, clock) as reader:
        await publish_tenants(broker.bootstrap, new_customer())
        await until_current(reader)
        await clock.until_sleeping()
        await clock.advance(SNAPSHOT_INTERVAL_S - 1)
        assert writing(path) is None
        await clock.advance(1)
        first = await eventually(lambda: asyncio.to_thread(writing, path))
        await clock.until_sleeping()
        await clock.advance(SNAPSHOT_INTERVAL_S)
        await clock.until_sleeping()
    assert writing(path) == first


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\0" * 4096])
async def test_an_unusable_file_is_ignored_and_replaced(
    broker: FrailBroker, path: Path, content: bytes
) -> None:
    """It is the topic that counts."""
    known = new_customer()
    await create_local_topics(broker.bootstrap)
    await publish_tenants(broker.bootstrap, known)
    write(path, content)
    async with reading(broker, path) as reader:
        await until_current(reader)
        assert knows(reader, known)
    assert encode(known.tenant) in load(path).records


async def test_without_a_usable_folder_it_works_without_a_snapshot(broker: FrailBroker, path: Path) -> None:
    """A disk that refuses is no reason to stop, neither while it runs nor at its end."""
    known, later, clock = new_customer(), new_customer(), FakeClock()
    await create_local_topics(broker.bootstrap)
    await publish_tenants(broker.bootstrap, known)
    write(path.parent, b"a file where the folder should be")
    async with reading(broker, path, clock) as reader:
        await until_current(reader)
        await clock.until_sleeping()
        await clock.advance(SNAPSHOT_INTERVAL_S)
        # the next round begins: the failed save did not end the keeping
        await clock.until_sleeping()
        await publish_tenants(broker.bootstrap, later)
        await until_known(reader, later.tenant.user_id)
        assert knows(reader, known)
