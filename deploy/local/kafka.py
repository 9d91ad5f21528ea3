"""The embedded broker: one Kafka node in KRaft mode, broker and controller in one process."""

import asyncio
import base64
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local.child import Program, run_once
from deploy.local.errors import LocalError, NotReadyError
from schemas.topics import DAY_MS, LARGE_MESSAGE_BYTES

_FORMAT_DEADLINE_S: Final = 60
_ANSWER_DEADLINE_S: Final = 3
_ENVELOPE_BYTES: Final = 64 * 1024

_INSTALLED: Final = "kafka"
_ARCHIVE_NAME: Final = "classes.jsa"
_ARCHIVE: Final = f"{_INSTALLED}/{_ARCHIVE_NAME}"

_LOG4J: Final = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """A broker on 127.0.0.1 with its data in `folder`. The ports may differ from one start to the next.

    `libraries` holds the jars. One process at a time: Kafka locks its data folder.
    """

    folder: Path
    libraries: Path
    port: int
    controller_port: int
    log: Path

    @property
    def name(self) -> str:
        return "kafka"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def prepare(self) -> None:
        """Write the configuration and format the storage if this never happened. Safe to interrupt."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._link_libraries()
        self._write("log4j2.properties", _LOG4J)
        self._write("server.properties", _properties(self._settings("data")))
        if (self.folder / "data").exists():
            return
        # A formatting cut short must not pass for data: it gets its name only when it is complete.
        shutil.rmtree(self.folder / "data.new", ignore_errors=True)
        self._write("format.properties", _properties(self._settings("data.new")))
        await run_once(self._format_program(), _FORMAT_DEADLINE_S)
        (self.folder / "data.new").rename(self.folder / "data")

    async def check(self) -> None:
        await check_kafka(self.bootstrap)

    def program(self) -> Program:
        return self._server(*self._archived())

    def archiving_program(self) -> Program:
        """The broker; when it has ended, its classes lie beside the libraries as `class_archive`."""
        return self._server(f"-XX:ArchiveClassesAtExit={_ARCHIVE}")

    def _server(self, *options: str) -> Program:
        return self._java("kafka", ("-Xms256m", "-Xmx512m", *options), "kafka.Kafka", "server.properties")

    def _format_program(self) -> Program:
        tool = ("kafka.tools.StorageTool", "format", "--config", "format.properties", "--cluster-id")
        return self._java("kafka format", ("-Xmx256m", *self._archived()), *tool, _new_cluster_id())

    def _archived(self) -> tuple[str, ...]:
        return (f"-XX:SharedArchiveFile={_ARCHIVE}",) if class_archive(self.libraries).exists() else ()

    def _java(self, name: str, options: tuple[str, ...], *command: str) -> Program:
        common = (
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            # an archive of another Java is passed over: slower, and nothing to tell of
            "-Xlog:disable",
            "-Xlog:all=error:stderr",
            "-Dlog4j2.configurationFile=log4j2.properties",
        )
        return Program(
            name=name,
            arguments=(java(), *common, *options, "-cp", f"{_INSTALLED}/libs/*", *command),
            environment={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            log=self.log,
            folder=self.folder,
        )

    def _link_libraries(self) -> None:
        # Relative paths: neither a class path nor `log.dirs` can quote the ":" or "," of a folder's name. And
        # the same path from everywhere: an archive of classes is for one class path.
        link = self.folder / _INSTALLED
        link.unlink(missing_ok=True)
        link.symlink_to(self.libraries.absolute().parent)

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="ascii")

    def _settings(self, data: str) -> dict[str, str | int]:
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": data,
            "auto.create.topics.enable": "false",
            "num.network.threads": 2,
            "num.io.threads": 4,
            "group.coordinator.threads": 1,
            "share.coordinator.threads": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "offsets.retention.minutes": 100 * DAY_MS // 60_000,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "message.max.bytes": LARGE_MESSAGE_BYTES + _ENVELOPE_BYTES,
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
            "controlled.shutdown.max.retries": 1,
            # after a kill, the controller waits this long for the broker it knew before it takes a new one
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
        }


def class_archive(libraries: Path) -> Path:
    """What `deploy.local.class_archive` makes: with it a broker is up in half the time."""
    return libraries.parent / _ARCHIVE_NAME


async def check_kafka(bootstrap: str) -> None:
    """Return when the broker answers a metadata request within 3 s, else raise `NotReadyError`."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=_ANSWER_DEADLINE_S * 1000)
    try:
        # aiokafka logs each refused connection as an error; while a broker starts they are expected
        await _connect(bootstrap)
        async with asyncio.timeout(_ANSWER_DEADLINE_S):
            await client.bootstrap()
    except (KafkaError, OSError, TimeoutError) as error:
        raise NotReadyError(f"no broker answers at {bootstrap}") from error
    finally:
        await client.close()


def java() -> str:
    """Path of the Java launcher. Raises `LocalError` when there is none."""
    found = shutil.which("java")
    if found is None:
        raise LocalError("java is missing: run `make run` to install it")
    return found


async def _connect(bootstrap: str) -> None:
    host, _, port = bootstrap.rpartition(":")
    async with asyncio.timeout(_ANSWER_DEADLINE_S):
        _reader, writer = await asyncio.open_connection(host, int(port))
    writer.close()


def _properties(settings: dict[str, str | int]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _new_cluster_id() -> str:
    # A fixed first byte: an id that starts with "-" would be read as an option.
    return base64.urlsafe_b64encode(b"\x01" + secrets.token_bytes(15)).decode().rstrip("=")
