"""S3Proxy: an S3 server that checks signatures and expiry, keeping its objects in a temporary folder."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.local.child import Program
from deploy.local.errors import NotReadyError
from deploy.local.kafka import java
from deploy.local.ports import Ports
from runtime.settings import StorageSettings
from tests.support.stack import ROOT, free_port, running, temporary_folder

LIBRARIES: Final = ROOT / ".local/opt/s3proxy/libs"
BUCKET: Final = "pictures"
KEY_ID: Final = "key-id-of-the-tests"
SECRET: Final = "secret-key-of-the-tests"

_PROPERTIES: Final = """\
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v4
s3proxy.identity={key_id}
s3proxy.credential={secret}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={folder}
"""
_LOGBACK: Final = '<configuration><root level="OFF"/></configuration>'


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it is. `settings` make a client's: of a prefix, and with whatever a test wants to be wrong."""

    endpoint: str

    def settings(self, prefix: str, **changes: Any) -> StorageSettings:
        values = {
            "s3_bucket": BUCKET,
            "s3_endpoint": self.endpoint,
            "s3_access_key_id": KEY_ID,
            "s3_secret_access_key": SECRET,
            "s3_prefix": prefix,
        }
        return StorageSettings.model_validate(values | changes)


@contextmanager
def s3proxy() -> Iterator[S3Server]:
    """A running server with the bucket."""
    ports = Ports()
    with temporary_folder("s3") as folder:
        port = free_port(ports)
        (folder / "objects" / BUCKET).mkdir(parents=True)
        settings = {"port": port, "key_id": KEY_ID, "secret": SECRET, "folder": folder / "objects"}
        (folder / "s3proxy.properties").write_text(_PROPERTIES.format_map(settings))
        (folder / "logback.xml").write_text(_LOGBACK)
        with running(_program(folder), lambda: _check(port)):
            yield S3Server(f"http://127.0.0.1:{port}")
    ports.close()


def _program(folder: Path) -> Program:
    # relative: a class path cannot quote the ":" of a folder's name
    classes = os.path.relpath(LIBRARIES, folder.resolve()) + "/*"
    options = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    main = ("org.gaul.s3proxy.Main", "--properties", "s3proxy.properties")
    return Program(
        name="s3proxy",
        arguments=(java(), *options, "-Dlogback.configurationFile=logback.xml", "-cp", classes, *main),
        environment={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        log=folder / "log",
        folder=folder,
    )


async def _check(port: int) -> None:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise NotReadyError("nobody listens yet") from error
    writer.close()
