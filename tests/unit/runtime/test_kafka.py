import asyncio
import ssl

import pytest
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from runtime.kafka import (
    connection_options,
    create_consumer,
    create_producer,
    partition_of,
    stop_client,
    until_started,
)
from runtime.settings import KafkaSettings, load_section
from schemas.topics import LARGE_MESSAGE_BYTES, MESSAGE_BYTES

PLAIN = load_section(KafkaSettings, {"KAFKA_BOOTSTRAP": "one:9092,two:9093"})


def settings(**values: str) -> KafkaSettings:
    return load_section(KafkaSettings, {"KAFKA_BOOTSTRAP": "one:9092", **values})


def test_a_plain_connection_needs_the_brokers_only() -> None:
    """All bootstrap addresses are tried."""
    assert connection_options(PLAIN) == {
        "bootstrap_servers": ["one:9092", "two:9093"],
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }


def test_credentials_are_sent_only_where_sasl_is_asked_for() -> None:
    """A password that happens to be set does not go over a plain connection."""
    login = {"KAFKA_SASL_USERNAME": "alerts", "KAFKA_SASL_PASSWORD": "s3cr3t"}
    assert "sasl_plain_password" not in connection_options(settings(**login))
    options = connection_options(settings(KAFKA_SECURITY_PROTOCOL="SASL_SSL", **login))
    assert options["sasl_plain_username"] == "alerts"
    assert options["sasl_plain_password"] == "s3cr3t"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert isinstance(options["ssl_context"], ssl.SSLContext)


def test_a_broker_must_prove_who_it_is() -> None:
    """TLS checks certificate and host name."""
    context = connection_options(settings(KAFKA_SECURITY_PROTOCOL="SSL"))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_producers_are_idempotent_and_take_what_their_topics_take() -> None:
    """A message as large as the topic allows fits a request, also with its envelope."""
    for large, limit_bytes in ((False, MESSAGE_BYTES), (True, LARGE_MESSAGE_BYTES)):
        producer = create_producer(PLAIN, "test", large=large)
        assert producer._txn_manager is not None
        assert producer._sender._acks == -1
        assert producer._max_request_size > limit_bytes
        assert producer._message_accumulator._batch_size <= MESSAGE_BYTES / 2
        await stop_client(producer.stop())


async def test_consumers_for_assignment_never_commit() -> None:
    """They belong to no group and begin at the beginning."""
    consumer = create_consumer(PLAIN, "test")
    assert (consumer._group_id, consumer._enable_auto_commit) == (None, False)
    assert consumer._auto_offset_reset == "earliest"
    await stop_client(consumer.stop())


class Client:
    """Starts when `failures` are used up."""

    def __init__(self, failures: list[BaseException], stopped: list["Client"]) -> None:
        self._failures = failures
        self._stopped = stopped

    async def start(self) -> None:
        if self._failures:
            raise self._failures.pop(0)

    async def stop(self) -> None:
        self._stopped.append(self)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.kafka.backoff_s", lambda *_bounds: iter([0.0] * 10))


@pytest.mark.usefixtures("_quick")
async def test_starting_waits_for_a_broker() -> None:
    """Each try is a new client, and those that failed are stopped."""
    failures: list[BaseException] = [KafkaConnectionError(), TimeoutError()]
    stopped: list[Client] = []
    client = await until_started(lambda: Client(failures, stopped))
    assert len(stopped) == 2
    assert client not in stopped


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("error", [AuthenticationFailedError(), ValueError(), asyncio.CancelledError()])
async def test_starting_does_not_wait_for_what_time_cannot_cure(error: BaseException) -> None:
    """A wrong password ends the start, and the client is stopped."""
    stopped: list[Client] = []
    with pytest.raises(type(error)):
        await until_started(lambda: Client([error], stopped))
    assert len(stopped) == 1


async def test_stopping_a_client_swallows_its_failures() -> None:
    """Also `CancelledError`, which aiokafka raises when stopped right after its start."""

    async def fail(error: BaseException) -> None:
        raise error

    for error in (KafkaConnectionError(), asyncio.CancelledError()):
        await stop_client(fail(error))


async def test_stopping_a_client_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that waits for a broker without end is cut off, and ended."""
    monkeypatch.setattr("runtime.kafka.CLIENT_STOP_DEADLINE_S", 0.01)
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await stop_client(hang())
    assert ended.is_set()


@given(key=st.binary(max_size=60), partitions=st.integers(1, 64))
def test_a_key_goes_where_every_client_sends_it(key: bytes, partitions: int) -> None:
    """Remembering a hash changes no partition: a tenant's records stay together whoever writes them."""
    everywhere = list(range(partitions))
    assert partition_of(key, everywhere, everywhere) == DefaultPartitioner()(key, everywhere, everywhere)


def test_a_record_without_a_key_goes_where_a_leader_is() -> None:
    """Any partition will do that can be written to."""
    assert partition_of(None, [0, 1, 2], [1]) == 1
