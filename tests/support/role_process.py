"""A role as a process of its own, that a test kills and starts again."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from deploy.local.child import Program, kill_group, launch
from deploy.local.errors import NotReadyError
from deploy.local.ports import Ports
from tests.support.processes import descendants
from tests.support.stack import ROOT, answering, free_port, run_apart

STOP_S = 15.0


class RoleProcess:
    """`alerts ROLE …` with variables that stay the same from one life to the next."""

    def __init__(
        self, name: str, arguments: tuple[str, ...], values: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self._ports = Ports()
        self.operations_port = free_port(self._ports)
        environment = {
            "ALERTS_ENV_FILE": "",
            "LOG_FORMAT": "json",
            "OPERATIONS_PORT": str(self.operations_port),
            **values,
        }
        alerts = str(Path(sys.executable).with_name("alerts"))
        self.program = Program(name, (alerts, *arguments), environment, folder / f"{name}.log", ROOT)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns at once. Call it in the main thread: the process ends with its thread."""
        self.process = launch(self.program)

    def until_ready(self) -> None:
        if self.process is None:
            raise AssertionError("not started")
        run_apart(answering(self.process, self.program, self._check))

    def kill(self) -> None:
        """SIGKILL, to it and all it started."""
        if self.process is not None:
            kill_group(self.process)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        if self.process is None:
            raise AssertionError("not started")
        self.process.terminate()
        return self.process.wait(STOP_S)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        return self.program.log.read_text(errors="replace")

    def close(self) -> None:
        self.kill()
        self._ports.close()

    def children(self) -> dict[int, str]:
        return {} if self.process is None else descendants(self.process.pid)

    async def _check(self) -> None:
        url = f"http://127.0.0.1:{self.operations_port}/ready"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                if answer.status == 200:
                    return
                raise NotReadyError((await answer.text())[:500])
        except (aiohttp.ClientError, OSError) as error:
            raise NotReadyError(type(error).__name__) from error


@contextmanager
def role_processes(*roles: RoleProcess) -> Iterator[None]:
    """All started; all killed on exit."""
    try:
        for role in roles:
            role.start()
        for role in roles:
            role.until_ready()
        yield
    finally:
        for role in roles:
            role.close()
