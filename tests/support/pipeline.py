"""The pipeline as a user runs it: the supervisor with every role, or one role's process alone."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local.chart.strip import StripContent, decode
from deploy.local.child import Program
from deploy.local.layout import Layout
from deploy.local.part import HttpPart
from deploy.local.ports import Ports
from deploy.local.settings import INSTANCES, LocalSettings
from runtime.environment import parse_environment
from tests.support.processes import descendants
from tests.support.stack import ROOT, free_port, running, temporary_folder

READY_DEADLINE_S = 90
PORTS = [name for name in LocalSettings.model_fields if name.endswith("_port")]


@dataclass
class Pipeline:
    """A running stack. `output` is what the supervisor has said so far."""

    process: subprocess.Popen[bytes]
    layout: Layout
    log: Path
    ports: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """What `alerts` commands read to find this stack."""
        return parse_environment(self.layout.environment.read_text())

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def demo(self) -> dict[str, str]:
        demo: dict[str, str] = json.loads(self.layout.demo.read_text())
        return demo

    def child(self, word: str) -> int:
        """Process id of the part whose command line ends with the words, or else holds them."""
        commands = descendants(self.process.pid)
        ending = (pid for pid, command in commands.items() if command.endswith(word))
        return next(ending, None) or next(pid for pid, command in commands.items() if word in command)

    def kill(self, word: str, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.child(word), number)

    async def ready(self) -> None:
        """Until the banner; fails when the supervisor ends before."""
        async with asyncio.timeout(READY_DEADLINE_S):
            while not self.layout.demo.exists():
                assert self.process.poll() is None, self.output
                await asyncio.sleep(0.05)

    async def said(self, text: str, times: int = 1) -> None:
        """Until the supervisor has said the text so often."""
        async with asyncio.timeout(READY_DEADLINE_S):
            while self.output.count(text) < times:  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.05)


@contextmanager
def start_pipeline(folder: Path) -> Iterator[Pipeline]:
    """A supervisor on free ports; ended on exit, also if it does not want to."""
    layout = Layout(folder)
    layout.folder.mkdir(parents=True, exist_ok=True)
    if not (layout.folder / "opt").exists():
        (layout.folder / "opt").symlink_to(ROOT / ".local/opt")
    ports = Ports()
    chosen = {name.upper(): str(free_port(ports)) for name in PORTS}
    ports.close()
    log = folder / "said.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.stack_process", str(folder)],
            cwd=ROOT,
            env={**os.environ, **chosen, "PYTHONPATH": str(ROOT)},  # noqa: TID251 - a process's edge
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Pipeline(process, layout, log, chosen)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Client:
    """What the demo tenant's sender and the platform do."""

    http: aiohttp.ClientSession
    demo: dict[str, str]

    async def post(self, text: str) -> tuple[int, dict[str, Any]]:
        """Post an alert; status and answer."""
        async with self.http.post(self.demo["webhook_url"], data=text.encode()) as answer:
            return answer.status, await answer.json()

    async def alert(self, symbol: str) -> str:
        """Post an alert as the sender does, again after a 5xx; returns the signal's id once it got a 200."""
        for _try in range(20):
            try:
                status, answer = await self.post(alert_text(symbol))
            except aiohttp.ClientError:
                status, answer = 0, {}
            if status == 200:
                return str(answer["signal_id"])
            await asyncio.sleep(5)
        raise AssertionError("never accepted")

    async def get(self, path: str, key: str = "api_key") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.demo[key]}"}
        async with self.http.get(self.demo["api_url"] + path, headers=headers) as answer:
            return answer.status, await answer.json()

    async def signals(self) -> list[dict[str, Any]]:
        """Every row of the demo tenant, newest first."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            _status, page = await self.get(f"/api/users/{self.demo['user_id']}/signals?limit=200{cursor}")
            rows += page["items"]
            if page["next_cursor"] is None:
                return rows
            cursor = f"&cursor={page['next_cursor']}"

    async def settled(self, signal_ids: set[str], deadline_s: float) -> list[dict[str, Any]]:
        """The rows of these signals, once each has a final screenshot status."""
        async with asyncio.timeout(deadline_s):
            while True:
                rows = [row for row in await self._signals_or_none() if row["signal_id"] in signal_ids]
                final = [row for row in rows if row["screenshot_status"] not in {"pending", "processing"}]
                if {row["signal_id"] for row in final} == signal_ids:
                    return rows
                await asyncio.sleep(0.2)

    async def picture(self, row: dict[str, Any]) -> StripContent:
        """What the stored picture says it shows. The link needs no key."""
        async with self.http.get(row["screenshot_url"]) as answer:
            assert answer.status == 200
            return decode(await answer.read())

    async def _signals_or_none(self) -> list[dict[str, Any]]:
        try:
            return await self.signals()
        except (aiohttp.ClientError, KeyError):
            return []


@asynccontextmanager
async def client_of(pipeline: Pipeline) -> AsyncIterator[Client]:
    await pipeline.ready()
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        yield Client(http, pipeline.demo)


@contextmanager
def temporary_pipeline() -> Iterator[Pipeline]:
    with temporary_folder("pipeline") as folder, start_pipeline(folder) as pipeline:
        yield pipeline


@contextmanager
def role_process(instance: str, variables: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of a role, ready; told to stop on exit. Blocks until then. Its name is that of its member."""
    ports = Ports()
    port = free_port(ports)
    ports.close()
    own = {
        "ALERTS_ENV_FILE": "",
        "KAFKA_GROUP_INSTANCE_ID": f"test-{instance}",
        "LOG_FORMAT": "json",
        "OPERATIONS_PORT": str(port),
    }
    command = (sys.executable, str(Path(sys.executable).with_name("alerts")), *INSTANCES[instance])
    with temporary_folder("role") as folder:
        environment = {**os.environ, **own, **variables}  # noqa: TID251 - a process's edge
        program = Program(instance, command, environment, folder / "log")
        part = HttpPart(instance, program, f"http://127.0.0.1:{port}/ready")
        with running(program, part.check) as process:
            yield process


def alert_text(symbol: str) -> str:
    return f"ADX DEF\nTicker: {symbol}\nPrecio: $67,890.50\nSeñal: Divergencia Alcista 🟢\nInterval: 15"
