"""The embedded broker as a real process."""

from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.class_archive import archive_classes
from deploy.local.errors import NotReadyError
from deploy.local.kafka import KafkaNode, check_kafka, class_archive
from deploy.local.ports import Ports
from schemas.topics import LARGE_MESSAGE_BYTES
from tests.support.stack import LIBRARIES, free_port, run_apart, running

TOPIC = "kept"


async def _publish(bootstrap: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=len(value) + 1024)
    await producer.start()
    try:
        await producer.send_and_wait(TOPIC, value, partition=0)
    finally:
        await producer.stop()


async def _create_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        config = {"max.message.bytes": str(LARGE_MESSAGE_BYTES)}
        await admin.create_topics([NewTopic(TOPIC, 1, 1, topic_configs=config)])
    finally:
        await admin.close()


async def _read(bootstrap: str) -> bytes:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, max_partition_fetch_bytes=2 * LARGE_MESSAGE_BYTES
    )
    await consumer.start()
    try:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        return (await consumer.getone()).value or b""
    finally:
        await consumer.stop()


def node(folder: Path, libraries: Path = LIBRARIES) -> KafkaNode:
    """A broker on ports that differ from call to call."""
    ports = Ports()
    try:
        return KafkaNode(folder / "node", libraries, free_port(ports), free_port(ports), folder / "log")
    finally:
        ports.close()


async def test_a_running_broker_answers(kafka_bootstrap: str) -> None:
    """The check returns for a broker that is up."""
    await check_kafka(kafka_bootstrap)


async def test_a_broker_that_is_away_is_not_ready() -> None:
    """The check says so at once instead of waiting."""
    with pytest.raises(NotReadyError, match="no broker answers"):
        await check_kafka("127.0.0.1:1")


def test_records_outlive_a_kill_and_a_change_of_ports(tmp_path: Path) -> None:
    """A record that was acked is read after SIGKILL from the same folder under another address."""
    folder = tmp_path / "with space, comma: and ñ"
    folder.mkdir()
    record = b"x" * (LARGE_MESSAGE_BYTES - 1024)
    first = node(folder)
    run_apart(first.prepare())
    with running(first.program(), first.check) as process:
        run_apart(_create_topic(first.bootstrap))
        run_apart(_publish(first.bootstrap, record))
        process.kill()
        process.wait()
    second = node(folder)
    run_apart(second.prepare())
    with running(second.program(), second.check):
        assert run_apart(_read(second.bootstrap)) == record


def test_a_formatting_cut_short_is_done_again(tmp_path: Path) -> None:
    """What it left is not mistaken for data."""
    half = tmp_path / "node/data.new"
    half.mkdir(parents=True)
    (half / "meta.properties").write_text("half")
    broker = node(tmp_path)
    run_apart(broker.prepare())
    assert "cluster.id" in (tmp_path / "node/data/meta.properties").read_text()
    assert not half.exists()


def test_a_broker_starts_from_its_archived_classes(tmp_path: Path) -> None:
    """Java says nothing when it passes over an archive, so it is asked what it has mapped."""
    libraries = tmp_path / "libs"
    libraries.symlink_to(LIBRARIES)
    run_apart(archive_classes(libraries))
    broker = node(tmp_path, libraries)
    run_apart(broker.prepare())
    with running(broker.program(), broker.check) as process:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
    assert str(class_archive(libraries)) in maps


def test_a_broker_starts_beside_an_archive_that_is_of_no_use(tmp_path: Path) -> None:
    """As that of another Java, or one cut short: it only takes longer."""
    libraries = tmp_path / "libs"
    libraries.symlink_to(LIBRARIES)
    class_archive(libraries).write_bytes(b"half an archive")
    broker = node(tmp_path, libraries)
    run_apart(broker.prepare())
    with running(broker.program(), broker.check):
        run_apart(check_kafka(broker.bootstrap))
    assert "archive" not in broker.log.read_text()


def test_two_clusters_have_different_ids(tmp_path: Path) -> None:
    """A snapshot of another cluster's topics must not be taken for one of this cluster."""
    names = [tmp_path / name for name in ("a", "b")]
    for folder in names:
        folder.mkdir()
        run_apart(node(folder).prepare())
    texts = [(folder / "node/data/meta.properties").read_text() for folder in names]
    ids = {line for text in texts for line in text.splitlines() if line.startswith("cluster.id")}
    assert len(ids) == 2
