"""The embedded database as a real process."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.local.child import unprivileged_account
from deploy.local.errors import LocalError
from deploy.local.ports import Ports
from deploy.local.postgres import PostgresCluster, server_programs
from tests.support.processes import descendants, survivors
from tests.support.stack import free_port, run_apart, running

PASSWORD = SecretStr("a password/with:marks")


@contextmanager
def opened(folder: Path, password: SecretStr = PASSWORD) -> Iterator[PostgresCluster]:
    ports = Ports()
    port = free_port(ports)
    ports.close()
    with closing(PostgresCluster.open(folder, port, password, folder.parent / "log")) as cluster:
        yield cluster


@contextmanager
def started(cluster: PostgresCluster) -> Iterator[subprocess.Popen[bytes]]:
    run_apart(cluster.prepare())
    with running(cluster.program(), cluster.check) as process:
        yield process


async def _execute(url: str, statement: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [str(row[0]) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def execute(url: str, statement: str) -> list[str]:
    return run_apart(_execute(url, statement))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder below one that only its owner can enter."""
    locked = tmp_path / "only the owner"
    locked.mkdir(mode=0o700)
    return locked / "cluster"


def test_rows_outlive_a_kill(folder: Path) -> None:
    """After SIGKILL the same folder starts again, under another port, with what was committed."""
    with opened(folder) as cluster, started(cluster) as process:
        execute(cluster.url(), "CREATE TABLE kept AS SELECT 'row' AS word")
        backends = descendants(process.pid)
        process.kill()
        process.wait()
        assert not survivors(backends, 10)
    with opened(folder) as cluster, started(cluster):
        assert execute(cluster.url(), "SELECT word FROM kept") == ["row"]


def test_the_cluster_is_as_the_pipeline_needs_it(folder: Path) -> None:
    """Text in UTF-8 ordered by code points, times in UTC, every commit on disk, no socket file."""
    wanted = {
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "fsync": "on",
        "unix_socket_directories": "",
        "listen_addresses": "127.0.0.1",
        "password_encryption": "scram-sha-256",
    }
    with opened(folder) as cluster, started(cluster):
        found = {name: execute(cluster.url(), f"SHOW {name}")[0] for name in wanted}
        locale = execute(
            cluster.url(), "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        )
    assert found == wanted
    assert locale == ["C.UTF-8"]


def test_a_wrong_password_is_refused_and_said(folder: Path) -> None:
    """Waiting would not help, so the check does not call it unready."""
    with opened(folder) as cluster, started(cluster):
        wrong = replace(cluster, password=SecretStr("wrong"))
        with pytest.raises(LocalError, match="refuses the password"):
            run_apart(wrong.check())


def test_an_initdb_cut_short_is_done_again(folder: Path) -> None:
    """What it left is not mistaken for data, and the password's file is gone."""
    half = folder / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15")
    with opened(folder) as cluster:
        run_apart(cluster.prepare())
    assert sorted(path.name for path in folder.iterdir()) == ["data"]


def test_a_lock_file_of_another_program_is_no_obstacle(folder: Path) -> None:
    """After a kill the process id may belong to anything, also to something of the same user."""
    with opened(folder) as cluster:
        run_apart(cluster.prepare())
        (folder / "data/postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n")
        with started(cluster):
            assert execute(cluster.url(), "SELECT 1") == ["1"]


def test_a_running_servers_lock_file_is_kept(folder: Path) -> None:
    """Two servers on one folder would destroy it."""
    with opened(folder) as cluster, started(cluster) as process:
        run_apart(cluster.prepare())
        assert (folder / "data/postmaster.pid").read_text().startswith(f"{process.pid}\n")


def test_an_older_server_is_not_accepted() -> None:
    """The data of a major version needs the server of that version."""
    with pytest.raises(LocalError, match="Postgres 9 is missing"):
        server_programs(9)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_owner_is_given_to_the_server(folder: Path) -> None:
    """For example after the system's database user was created between two runs."""
    account = unprivileged_account()
    assert account is not None
    with opened(folder) as cluster:
        run_apart(cluster.prepare())
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 0, 0)
    with opened(folder) as cluster, started(cluster):
        assert execute(cluster.url(), "SELECT 1") == ["1"]
    assert {path.stat().st_uid for path in folder.rglob("*")} == {account.uid}
