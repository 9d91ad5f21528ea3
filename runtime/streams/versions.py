"""Whether the installed libraries are those whose private parts this package was written against.

What keeps records safe must fit, or the process does not start. What only makes it quick must fit too, or the
original is used instead.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher
from faust.app.base import App
from faust.serializers.schemas import Schema
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import Producer
from faust.types.tuples import Message
from mode.services import Service

from runtime.errors import FatalError

PINNED: Final = MappingProxyType(
    {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}
)

Fingerprints = Mapping[Callable[..., Any], str]

SAFETY: Final[Fingerprints] = MappingProxyType(
    {
        Consumer._new_offset: "1d2c7ea89a7ad4f1",  # noqa: SLF001 - what is relied on is private
        Consumer._add_gap: "4df2573ded7c1c2c",  # noqa: SLF001 - what is relied on is private
        Consumer.ack: "5fcf41cf45153475",
        Consumer.track_message: "217d7f1399a4cd8e",
        Consumer.getmany: "4b168d84882a70d6",
        Consumer.perform_seek: "0e8c130ff4b0afd8",
        Consumer.verify_all_partitions_active: "4e0e46f5c297305d",
        Message.ack: "4751b72c4ed84153",
        Schema.compile: "d46eec5ce3195b2c",
        Producer.__init__: "5c53a4b47aa1372b",
        driver.Producer._settings_extra: "a4c7bc41b6382223",  # noqa: SLF001 - what is relied on is private
        AIOKafkaConnection.send: "5909ea32f4efca49",
        AIOKafkaConnection.close: "28f164aa1e4f0bbc",
        AIOKafkaClient._md_synchronizer: "e0421bffa9a7735a",  # noqa: SLF001 - what is relied on is private
        App._create_directories: "a9f571c3b04abec3",  # noqa: SLF001 - what is relied on is private
        App._new_transport: "42db531312dd776f",  # noqa: SLF001 - what is relied on is private
        App._new_producer_transport: "eb3b4aa6a8961275",  # noqa: SLF001 - what is relied on is private
    }
)

SPEED: Final[Fingerprints] = MappingProxyType(
    {
        Stream._py_aiter: "3a48ee257a65435b",  # noqa: SLF001 - what is relied on is private
        Fetcher._get_actions_per_node: "1dab2cf937d165d0",  # noqa: SLF001 - what is relied on is private
        driver.Consumer._new_consumer_thread: "0870ec53dea75083",  # noqa: SLF001 - what is relied on is private
        driver.AIOKafkaConsumerThread.on_start: "38b4e8bd1e10723a",
        Service.wait_first: "feade6a31f8a6789",
        Consumer._drain_messages: "44a2500309e83c63",  # noqa: SLF001 - what is relied on is private
        Consumer._wait_next_records: "6218e1969a636b3f",  # noqa: SLF001 - what is relied on is private
        Consumer.on_buffer_full: "c8961679e0bcdce5",
        Consumer.on_buffer_drop: "4b57e8a418d5ad9c",
        App.on_init_dependencies: "7621a70a9b01f93f",
        TableManager.on_start: "365dd25fbc0e0684",
        driver.AIOKafkaConsumerThread._fetch_records: "39a2c6c79fc1455a",  # noqa: SLF001 - what is relied on is private
    }
)


def check_versions() -> None:
    """Raises `FatalError` that names what differs. Call before any record is read."""
    differing = [
        f"{name} {installed} instead of {version}"
        for name, version in PINNED.items()
        if (installed := metadata.version(name)) != version
    ]
    differing += changed(SAFETY)
    if differing:
        raise FatalError(f"the stream harness was not written for this: {', '.join(differing)}")


def changed(fingerprints: Fingerprints) -> list[str]:
    """Names of the functions whose source is not what it was."""
    return [
        function.__qualname__
        for function, expected in fingerprints.items()
        if fingerprint(function) != expected
    ]


def fingerprint(function: Callable[..., Any]) -> str:
    """Of a function's source text."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]
