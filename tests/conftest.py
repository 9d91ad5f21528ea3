"""Fixtures of all tests. Servers start with the first test that asks for one."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from deploy.local.browser import find_browser
from deploy.local.postgres import PostgresCluster
from tests.support.capture_pages import clean_machine
from tests.support.s3proxy import S3Server, s3proxy
from tests.support.stack import Databases, kafka_node, postgres_cluster

_FOLDER = pytest.StashKey[Path]()
_FILES_APART = 5

# A stack that happens to run in this clone must not become a part of a test.
_ENVIRONMENT_OF_A_STACK = (
    "KAFKA_BOOTSTRAP",
    "DATABASE_URL",
    "SINK_DATABASE_URL",
    "SINK_OWNER_URL",
    "CAPTURE_DATABASE_URL",
    "API_DATABASE_URL",
    "CHART_ORIGIN",
    "S3_BUCKET",
)


# A busy machine is no failure: nothing here asserts times.
settings.register_profile("alerts", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("alerts")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Everything temporary lies in one folder, also what a killed process leaves there."""
    folder = Path(tempfile.mkdtemp(prefix="alerts-tests-"))
    folder.chmod(0o711)  # browser and database run as other users when the tests run as root
    config.stash[_FOLDER] = folder
    config.option.basetemp = str(folder / "pytest")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)  # noqa: TID251 - inherited by every process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fault tests mostly wait: spread over the run, they leave the processors to the files between them."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path.parent.name == "faults"]
    # in the order of the folders the smallest come last, so that all processes end at about the same time
    order = [path for path in files if path.parent.name != "faults"]
    for place, path in enumerate(waiting):
        order.insert(place * _FILES_APART, path)
    items[:] = [item for path in order for item in files[path]]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the role runs on; a browser's pipes are not for uvloop."""
    has_pipes = "capture" in str(item.path) or "browser_path" in getattr(item, "fixturenames", ())
    return {"asyncio": asyncio.new_event_loop} if has_pipes else {"uvloop": uvloop.new_event_loop}


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_stack_of_this_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_ENV_FILE", "")
    for name in _ENVIRONMENT_OF_A_STACK:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """Bootstrap address of a real broker. Topics are not created; tests use names of their own."""
    with kafka_node() as node:
        yield node.bootstrap


@pytest.fixture(scope="module")
def own_bootstrap() -> Iterator[str]:
    """Bootstrap address of a broker of the module's own, whose every record and group it knows."""
    with kafka_node() as node:
        yield node.bootstrap


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresCluster]:
    """A real server, shared by all tests."""
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresCluster) -> Databases:
    return Databases(postgres_server)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A fresh migrated database for one test."""
    with databases.database() as url:
        yield url


@pytest.fixture(scope="module")
def postgres_url(databases: Databases) -> Iterator[str]:
    """A fresh migrated database shared by the tests of one module."""
    with databases.database() as url:
        yield url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server with an empty bucket; tests keep apart by prefixes."""
    with s3proxy() as server:
        yield server


@pytest.fixture(scope="session")
def browser_path() -> Path:
    """The ELF file of the headless browser."""
    return find_browser()


@pytest.fixture
async def profiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Path]:
    """The folder of the browsers' folders. The test leaves no process and no folder of a browser."""
    async with clean_machine(monkeypatch, tmp_path_factory) as folder:
        yield folder


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started here can be interrupted, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
