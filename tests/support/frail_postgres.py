"""A database that a test kills, brings back and lets run out of space."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from deploy.local.child import kill_group, launch
from deploy.local.ports import Ports
from deploy.local.postgres import SETTINGS, PostgresCluster
from tests.support.processes import descendants, survivors
from tests.support.stack import answering, free_port, run_apart

_END_S: Final = 10.0
_BALLAST_BYTES: Final = 1024 * 1024
# what is written to a small disk beside the tables, and so counts against it
_SMALL: Final = {"min_wal_size": "32MB", "max_wal_size": "48MB", "shared_buffers": "32MB"}

# as root a mount needs no user namespace, and the server's own user must be known in it
_APART: Final = ("--mount",) if os.geteuid() == 0 else ("--user", "--map-root-user", "--mount")
_MOUNT: Final = 'mount -t tmpfs -o size="$2",mode=0700 tmpfs "$1" && echo mounted && exec cat'


class FrailPostgres:
    """One crash-safe cluster whose folder and port stay the same from one life to the next."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self._cluster.url()

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def launch(self) -> None:
        """Returns at once. Call it in the main thread: the server ends with its thread."""
        self._process = launch(self._cluster.program())

    async def answers(self) -> None:
        """Fails with the server's log when it ends or does not answer."""
        if self._process is None:
            raise AssertionError("not launched")
        await answering(self._process, self._cluster.program(), self._cluster.check)

    async def start(self) -> None:
        self.launch()
        await self.answers()

    def kill(self) -> None:
        """SIGKILL to all of its processes: on the disk is what was written until now."""
        if self._process is None:
            return
        family = descendants(self._process.pid)
        kill_group(self._process)
        # each has a session of its own
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert survivors(family, _END_S) == {}


@contextmanager
def frail_postgres(folder: Path, **settings: str) -> Iterator[FrailPostgres]:
    """A running server with an empty database and its log in the folder; gone at the end."""
    with closing(Ports()) as ports:
        cluster = PostgresCluster.open(
            folder / "cluster",
            free_port(ports),
            SecretStr("postgres-test-password"),
            folder / "postgres.log",
            {**SETTINGS, **settings},
        )
        server = FrailPostgres(cluster)
        try:
            run_apart(cluster.prepare())
            server.launch()
            run_apart(server.answers())
            yield server
        finally:
            server.kill()
            cluster.close()


class SmallDisk:
    """A file system of its own; `path` leads there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Until nothing fits."""
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(_BALLAST_BYTES)):
                pass

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """In memory, mounted on an empty folder in a mount namespace that ends with the block.

    Skips the test where the kernel gives us none.
    """
    arguments = ["unshare", *_APART, "sh", "-c", _MOUNT, "sh", str(folder), str(size_bytes)]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe) as holder:
        try:
            assert holder.stdin
            assert holder.stdout
            assert holder.stderr
            if not holder.stdout.readline():
                pytest.skip(f"no file system of our own here: {holder.stderr.read().decode().strip()}")
            yield SmallDisk(Path(f"/proc/{holder.pid}/root{folder}"))
        finally:
            holder.kill()


@contextmanager
def cramped_postgres(folder: Path, size_bytes: int) -> Iterator[tuple[FrailPostgres, SmallDisk]]:
    """As `frail_postgres`, all of it on a disk of this size."""
    with small_disk(folder, size_bytes) as disk, frail_postgres(disk.path, **_SMALL) as server:
        yield server, disk
