"""The supervisor as a real process, with real Kafka and Postgres and stand-ins for the roles."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from deploy.local.files import lock
from deploy.local.layout import Layout
from deploy.local.ports import Ports
from deploy.local.settings import INSTANCES, LocalSettings
from runtime.environment import parse_environment
from runtime.settings import KafkaSettings, load_section
from runtime.topics import create_topics
from tests.support.processes import descendants, survivors
from tests.support.stack import ROOT, free_port, run_apart, temporary_folder

LINE_DEADLINE_S = 60
STOP_DEADLINE_S = 15
PORTS = [name for name in LocalSettings.model_fields if name.endswith("_port")]


@dataclass
class Supervisor:
    """A running supervisor; `lines` has what it said."""

    process: subprocess.Popen[str]
    layout: Layout
    lines: "queue.Queue[str | None]" = field(default_factory=queue.Queue)

    def wait_for(self, text: str) -> None:
        """Until a line holds the text; fails when the supervisor ends before that."""
        said: list[str] = []
        while not said or text not in said[-1]:
            line = self.lines.get(timeout=LINE_DEADLINE_S)
            if line is None:
                pytest.fail(f"{text!r} was not said:\n{''.join(said)}")
            said.append(line)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def child(self, word: str) -> int:
        """Process id of the direct child whose command holds the word."""
        found = [
            pid
            for pid, command in descendants(self.process.pid).items()
            if word in command and os.getsid(pid) == pid and parent_of(pid) == self.process.pid
        ]
        assert len(found) == 1, descendants(self.process.pid)
        return found[0]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_DEADLINE_S)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that only its owner can enter, with a space in its name, that shares this clone's jars."""
    with temporary_folder("a clone") as root:
        (root / ".local").mkdir()
        (root / ".local/opt").symlink_to(ROOT / ".local/opt")
        yield root


@pytest.fixture(scope="module")
def port_variables() -> dict[str, str]:
    ports = Ports()
    chosen = {LocalSettings.variable(name): str(free_port(ports)) for name in PORTS}
    ports.close()
    return chosen


@contextmanager
def supervisor(folder: Path, variables: dict[str, str]) -> Iterator[Supervisor]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_stack", str(folder)],
        cwd=ROOT,
        env={"PATH": os.defpath, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    running = Supervisor(process, Layout(folder))
    reading = threading.Thread(target=running.read)
    reading.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reading.join()
        assert process.stdout is not None
        process.stdout.close()


async def _remember(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
        await connection.execute("INSERT INTO kept VALUES (1)")
        return int(await connection.fetchval("SELECT count(*) FROM kept"))
    finally:
        await connection.close()


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)


async def _user_and_roles(url: str) -> tuple[str, list[str]]:
    """Who logs in with the URL, and the roles of ours that it is a direct member of."""
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow("""
            SELECT current_user::text, ARRAY(
                SELECT roleid::regrole::text FROM pg_auth_members
                WHERE member = current_user::regrole ORDER BY 1
            )""")
        assert row is not None
        return row[0], row[1]
    finally:
        await connection.close()


async def _count_users(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM users"))
    finally:
        await connection.close()


def test_it_runs_until_told_to_stop(folder: Path, port_variables: dict[str, str]) -> None:
    """Files for programs exist while everything runs, for their owner only, and go with it."""
    with supervisor(folder, port_variables) as stack:
        stack.wait_for("Ctrl-C")
        demo = json.loads(stack.layout.demo.read_text())
        assert demo["api_url"] == f"http://127.0.0.1:{port_variables['API_PORT']}"
        for path in (stack.layout.demo, stack.layout.environment, stack.layout.secrets):
            assert path.stat().st_mode & 0o777 == 0o600
        started = descendants(stack.process.pid)
        assert stack.end(signal.SIGINT) == 0
        assert not survivors(started, 0)
        assert not stack.layout.demo.exists()
        assert not stack.layout.environment.exists()


def test_each_role_is_to_the_database_no_more_than_it_must_be(
    folder: Path, port_variables: dict[str, str]
) -> None:
    """Commands find the owner's login in the file; the roles have logins with the rights of their roles."""
    with supervisor(folder, port_variables) as stack:
        stack.wait_for("Ctrl-C")
        owner = parse_environment(stack.layout.environment.read_text())["DATABASE_URL"]
        for role in ("sink", "capture", "api"):
            url = environment_of(stack.child(role))["DATABASE_URL"]
            assert run_apart(_user_and_roles(url)) == (f"alerts_{role}_login", [f"alerts_{role}"])
        assert run_apart(_user_and_roles(owner))[0] == "alerts"
        for word in ("ingest", "--lane overflow"):
            environment = environment_of(stack.child(word))
            assert not [name for name, value in environment.items() if "postgresql://" in value]
        assert stack.end() == 0


def test_whatever_is_killed_comes_back_with_its_data(folder: Path, port_variables: dict[str, str]) -> None:
    """Kafka, Postgres and roles are started again, said so, and a stop afterwards is an ordinary one."""
    with supervisor(folder, port_variables) as stack:
        stack.wait_for("Ctrl-C")
        variables = parse_environment(stack.layout.environment.read_text())
        url = variables["DATABASE_URL"]
        rows = run_apart(_remember(url))
        killed = {
            "kafka.Kafka": "kafka",
            "bin/postgres": "postgres",
            "sink": "sink",
            "--lane overflow": "process-overflow",
        }
        for word, name in killed.items():
            os.kill(stack.child(word), signal.SIGKILL)
            stack.wait_for(f"{name} ended (signal 9), restarting")
            stack.wait_for(f"{name} is back")
        assert run_apart(_remember(url)) == rows + 1
        plan = run_apart(create_topics(load_section(KafkaSettings, variables)))
        assert plan.create == {}
        os.kill(stack.child("kafka.Kafka"), signal.SIGKILL)
        assert stack.end() == 0


def test_a_killed_supervisor_leaves_no_process(folder: Path, port_variables: dict[str, str]) -> None:
    """SIGKILL cannot be handled: the kernel ends the children, and the next start takes over their data."""
    with supervisor(folder, port_variables) as stack:
        stack.wait_for("Ctrl-C")
        started = descendants(stack.process.pid)
        assert len(started) > len(INSTANCES) + 3
        stack.process.kill()
        stack.process.wait()
        assert not survivors(started, 10)
    with supervisor(folder, port_variables) as stack:
        stack.wait_for("Ctrl-C")
        assert stack.end() == 0


def test_a_stop_while_starting_leaves_no_process(folder: Path, port_variables: dict[str, str]) -> None:
    """Also before anything is ready the stop is an ordinary one."""
    with supervisor(folder, port_variables) as stack:
        stack.wait_for("starting")
        started = descendants(stack.process.pid)
        assert stack.end() == 0
        assert not survivors(started, 0)


def test_a_second_signal_hurries(folder: Path, port_variables: dict[str, str]) -> None:
    """A role that does not end on SIGTERM is killed; nobody who asks twice has to wait for it."""
    with supervisor(folder, {**port_variables, "FAKE_IGNORE_TERM": "capture"}) as stack:
        stack.wait_for("Ctrl-C")
        started = descendants(stack.process.pid)
        stack.process.send_signal(signal.SIGTERM)
        stack.wait_for("stopping")
        assert stack.end() == 0
        assert not survivors(started, 0)


def test_a_role_that_cannot_start_ends_the_start(folder: Path, port_variables: dict[str, str]) -> None:
    """The reason is shown from its log, and everything else is stopped again."""
    with supervisor(folder, {**port_variables, "FAKE_EXIT": "sink"}) as stack:
        stack.wait_for("error: sink ended 5 times")
        stack.wait_for("told to fail")
        assert stack.process.wait(STOP_DEADLINE_S) == 1
        assert not stack.layout.demo.exists()


def test_a_clone_runs_one_pipeline(folder: Path, port_variables: dict[str, str]) -> None:
    """A second supervisor refuses while the first holds the lock."""
    layout = Layout(folder)
    with lock(layout.lock), supervisor(folder, port_variables) as stack:
        stack.wait_for("a pipeline already runs in")
        assert stack.process.wait(STOP_DEADLINE_S) == 1


def test_a_chosen_port_that_is_taken_is_an_error(folder: Path, port_variables: dict[str, str]) -> None:
    """The variable is named, and nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with supervisor(folder, {**port_variables, "POSTGRES_PORT": str(port)}) as stack:
            stack.wait_for(f"POSTGRES_PORT={port}: this port is taken")
            assert stack.process.wait(STOP_DEADLINE_S) == 1


def test_real_services_take_the_place_of_local_ones(
    folder: Path, port_variables: dict[str, str], kafka_bootstrap: str, database_url: str
) -> None:
    """Nothing embedded is started; topics, tables and the demo tenant are made where a person pointed to."""
    real = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "KAFKA_REPLICATION": "1",
        "KAFKA_TOPIC_PROFILE": "local",
        "DATABASE_URL": database_url,
        "CHART_ORIGIN": "https://charts.example",
    }
    with supervisor(folder, {**port_variables, **real}) as stack:
        stack.wait_for("Ctrl-C")
        commands = " ".join(descendants(stack.process.pid).values())
        assert not [word for word in ("java", "postgres", "chart-site") if word in commands]
        variables = parse_environment(stack.layout.environment.read_text())
        assert {name: variables[name] for name in real} == real
        plan = run_apart(create_topics(load_section(KafkaSettings, variables)))
        assert plan.create == {}
        assert run_apart(_count_users(database_url)) == 1
        assert stack.end() == 0
