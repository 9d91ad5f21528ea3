"""The embedded database: one Postgres cluster with its data in a folder of the clone."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
from pydantic import SecretStr

from deploy.local.child import Account, Program, run_once, unprivileged_account
from deploy.local.errors import LocalError, NotReadyError

OWNER: Final = "alerts"
DATABASE: Final = "alerts"
_OLDEST_VERSION: Final = 15
_INITDB_DEADLINE_S: Final = 120
_ANSWER_DEADLINE_S: Final = 3
_PROGRAMS: Final = Path("/usr/lib/postgresql")

SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # statements and error details may quote a row, and rows hold secrets
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """A cluster on 127.0.0.1 with its data in `folder`, owned by an unprivileged user when we are root.

    The server reaches its data only through `folder_fd`, an open descriptor of `folder`, so that the path
    to it may lead through folders which that user cannot enter.
    """

    folder: Path
    folder_fd: int
    port: int
    password: SecretStr
    log: Path
    account: Account | None
    settings: Mapping[str, str]

    @classmethod
    def open(
        cls, folder: Path, port: int, password: SecretStr, log: Path, settings: Mapping[str, str] = SETTINGS
    ) -> "PostgresCluster":
        """Make the folder if need be and open it. Call `close` when the server has ended."""
        account = unprivileged_account()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        if account is not None and folder.stat().st_uid != account.uid:
            _give_to(folder, account)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        return cls(folder, descriptor, port, password, log, account, settings)

    @property
    def name(self) -> str:
        return "postgres"

    def close(self) -> None:
        os.close(self.folder_fd)

    def url(self, database: str = DATABASE) -> str:
        password = quote(self.password.get_secret_value(), safe="")
        return f"postgresql://{OWNER}:{password}@127.0.0.1:{self.port}/{database}"

    async def prepare(self) -> None:
        """Create the cluster if it is not there and clear what a killed server left. Safe to interrupt."""
        if (self.folder / "data").exists():
            self._forget_dead_server()
            return
        # An initdb cut short must not pass for data: it gets its name only when it is complete.
        shutil.rmtree(self.folder / "data.new", ignore_errors=True)
        password_file = self.folder / "password"
        try:
            self._write_password(password_file)
            await run_once(self._initdb(), _INITDB_DEADLINE_S)
        finally:
            password_file.unlink(missing_ok=True)
        (self.folder / "data.new").rename(self.folder / "data")

    async def check(self) -> None:
        """Return when the database exists and answers within 3 s, else raise `NotReadyError`.

        The database is created on the first call that finds the server up.
        """
        try:
            async with asyncio.timeout(_ANSWER_DEADLINE_S):
                await self._select_one()
        except asyncpg.InvalidPasswordError as error:
            raise LocalError(
                f"Postgres on port {self.port} refuses the password in .local/secrets.json"
            ) from error
        except (asyncpg.PostgresError, OSError, TimeoutError) as error:
            raise NotReadyError(f"Postgres does not answer on port {self.port}") from error

    def program(self) -> Program:
        options = {**self.settings, "port": str(self.port)}
        arguments = [item for key, value in options.items() for item in ("-c", f"{key}={value}")]
        return self._program("postgres", "postgres", "-D", self._path("data"), *arguments)

    async def _select_one(self) -> None:
        try:
            connection = await asyncpg.connect(self.url())
        except asyncpg.InvalidCatalogNameError:
            connection = await asyncpg.connect(self.url("postgres"))
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        try:
            await connection.execute("SELECT 1")
        finally:
            await connection.close()

    def _initdb(self) -> Program:
        return self._program(
            "initdb",
            "initdb",
            f"--pgdata={self._path('data.new')}",
            f"--username={OWNER}",
            f"--pwfile={self._path('password')}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        )

    def _program(self, name: str, command: str, *arguments: str) -> Program:
        return Program(
            name=name,
            arguments=(str(self._programs() / command), *arguments),
            environment={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            log=self.log,
            account=self.account,
            inherited_fds=(self.folder_fd,),
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGQUIT,
        )

    def _path(self, name: str) -> str:
        return f"/proc/self/fd/{self.folder_fd}/{name}"

    def _programs(self) -> Path:
        version = self.folder / "data" / "PG_VERSION"
        return server_programs(int(version.read_text()) if version.exists() else None)

    def _write_password(self, path: Path) -> None:
        path.touch(mode=0o600)
        path.write_text(self.password.get_secret_value())
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _forget_dead_server(self) -> None:
        """Remove a lock file whose process id now belongs to something else.

        Postgres would refuse to start for ever when that is a process of the same user.
        """
        data = self.folder.resolve() / "data"
        lock = data / "postmaster.pid"
        if lock.exists() and not _runs_in(data, lock.read_text().partition("\n")[0]):
            lock.unlink()


def server_programs(version: int | None = None) -> Path:
    """Folder of `initdb` and `postgres`: of this major version, or the newest of 15 and later."""
    found = {
        int(path.name): path / "bin" for path in _PROGRAMS.glob("[0-9]*") if (path / "bin/postgres").exists()
    }
    usable = [number for number in found if number >= _OLDEST_VERSION and version in (None, number)]
    if usable:
        return found[max(usable)]
    on_path = shutil.which("initdb")
    if on_path is None or version is not None:
        wanted = f"Postgres {version}" if version else f"Postgres {_OLDEST_VERSION} or later"
        raise LocalError(f"{wanted} is missing: run `make run` to install it")
    return Path(on_path).resolve().parent


def _runs_in(folder: Path, pid: str) -> bool:
    try:
        return pid.isdigit() and Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


def _give_to(folder: Path, account: Account) -> None:
    os.chown(folder, account.uid, account.gid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)
