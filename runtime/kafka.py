"""Kafka clients, configured in one place. All of them are bare aiokafka."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.helpers import create_ssl_context
from aiokafka.partitioner import DefaultPartitioner, murmur2

from runtime.backoff import backoff_s
from runtime.errors import Failure, classify
from runtime.kafka_connections import guard_connections
from runtime.logging import get_logger
from runtime.settings import KafkaSettings
from schemas.topics import LARGE_MESSAGE_BYTES, MESSAGE_BYTES

ClientT = TypeVar("ClientT", AIOKafkaConsumer, AIOKafkaProducer)

log = get_logger(__name__)

CLIENT_STOP_DEADLINE_S: Final = 1.0
_BATCH_BYTES: Final = 256 * 1024
_FETCH_WAIT_MS: Final = 100
_KEYS_KEPT: Final = 65_536
_DEFAULT_PARTITIONER: Final = DefaultPartitioner()


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """The keyword arguments that every aiokafka client takes to reach and trust the brokers."""
    guard_connections()
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL") and settings.sasl_password is not None:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return options


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    if not settings.security_protocol.endswith("SSL"):
        return None
    context: ssl.SSLContext = create_ssl_context(
        cafile=settings.ssl_cafile, certfile=settings.ssl_certfile, keyfile=settings.ssl_keyfile
    )
    return context


def create_producer(settings: KafkaSettings, client_id: str, *, large: bool = False) -> AIOKafkaProducer:
    """An idempotent producer with acks=all; not started. `large` allows the 4 MiB topics.

    Inside aiokafka it keeps trying for ever; deadlines are the caller's.
    """
    return AIOKafkaProducer(
        **connection_options(settings),
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        # a topic's limit is on the batch; one record alone may be larger than this
        max_batch_size=_BATCH_BYTES,
        max_request_size=(LARGE_MESSAGE_BYTES if large else MESSAGE_BYTES) + _BATCH_BYTES,
        request_timeout_ms=10_000,
        retry_backoff_ms=100,
        metadata_max_age_ms=60_000,
        partitioner=partition_of,
    )


def is_broken(producer: AIOKafkaProducer) -> bool:
    """Whether one of a running producer's tasks has ended: it may never deliver again, and never say so."""
    if getattr(producer, "_closed", False):
        return False
    sender, client = getattr(producer, "_sender", None), getattr(producer, "client", None)
    return has_ended(sender, "sender_task") or has_ended(client, "_sync_task")


def has_ended(owner: Any, name: str) -> bool:
    """Of a task that a part of aiokafka keeps under the name; False while there is none."""
    task = getattr(owner, name, None)
    return task is not None and task.done()


def partition_of(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """The partition that every Kafka client chooses by default. aiokafka's own hashes in Python each time."""
    if key is None:
        chosen: int = _DEFAULT_PARTITIONER(None, partitions, available)
        return chosen
    return partitions[_key_hash(key) % len(partitions)]


@lru_cache(_KEYS_KEPT)
def _key_hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFF_FFFF


def create_consumer(settings: KafkaSettings, client_id: str) -> AIOKafkaConsumer:
    """A consumer without a group, for `assign`; not started. Never commits."""
    return AIOKafkaConsumer(
        **connection_options(settings),
        client_id=client_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # The broker answers a connection in turn: a question waits for the fetch that was sent before it.
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        request_timeout_ms=10_000,
        retry_backoff_ms=100,
        metadata_max_age_ms=60_000,
    )


@asynccontextmanager
async def open_admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Raises `KafkaConnectionError` when no broker answers."""
    admin = AIOKafkaAdminClient(
        **connection_options(settings), client_id="alerts-admin", request_timeout_ms=10_000
    )
    try:
        await admin.start()
        yield admin
    finally:
        await stop_client(admin.close())


async def stop_client(stopping: Coroutine[Any, Any, object]) -> None:
    """Await a client's stop, for a while: flushing waits without limit when no broker answers.

    Its failures are of no interest any more. The stop runs in a task of its own, since aiokafka's consumers
    raise `CancelledError` from `stop` when they are stopped right after their start.
    """
    task = asyncio.ensure_future(stopping)
    _done, late = await asyncio.wait({task}, timeout=CLIENT_STOP_DEADLINE_S)
    if late:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until_started(create: Callable[[], ClientT]) -> ClientT:
    """A started client, made anew until a broker answers. Raises only what waiting cannot cure."""
    for wait_s in backoff_s(0.2, 2.0):
        client = create()
        try:
            await client.start()
        except BaseException as error:
            await stop_client(client.stop())
            if not isinstance(error, Exception) or classify(error) is not Failure.TRANSIENT:
                raise
            log.info("waiting_for_kafka", error=type(error).__name__)
        else:
            return client
        await asyncio.sleep(wait_s)
    raise AssertionError("backoff never ends")


async def wait_for_kafka(settings: KafkaSettings) -> None:
    """Returns when a broker answers."""
    consumer = await until_started(lambda: create_consumer(settings, "alerts-wait"))
    await stop_client(consumer.stop())
