"""The peers of the ingress: what each is called, whether it is installed, how it is started."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from deploy.local.child import Program
from deploy.local.errors import NotReadyError
from deploy.local.ports import Ports
from tests.bench.ingress_server import Server
from tests.support.stack import ROOT, free_port, running

HOW_TO_INSTALL: Final = "sh tests/bench/peers/install.sh"
_BINARIES: Final = ROOT / ".local/bench/bin"
_FOLDER: Final = ROOT / "tests/bench/peers"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer runs: the broker it writes to, its own topic there, and a folder for its log."""

    bootstrap: str
    topic: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Peer:
    binary: Path
    start: Callable[[Path, Site], AbstractContextManager[Server]]

    @property
    def installed(self) -> bool:
        return self.binary.is_file()

    def server(self, site: Site) -> AbstractContextManager[Server]:
        """The running peer, ready for the first request; ended on exit."""
        return self.start(self.binary, site)


@contextmanager
def _bento(binary: Path, site: Site) -> Iterator[Server]:
    ports = Ports()
    port = free_port(ports)
    address = f"127.0.0.1:{port}"
    arguments = (str(binary), "-c", str(_FOLDER / "bento/config.yaml"))
    environment = {"BENTO_ADDRESS": address, "BENTO_KAFKA": site.bootstrap, "BENTO_TOPIC": site.topic}
    program = Program("bento", arguments, environment, site.folder / "bento.log", site.folder)
    with running(program, lambda: _check(f"http://{address}/ready")) as process:
        yield Server("bento", process.pid, port, "/post")
    ports.close()


async def _check(url: str) -> None:
    """Ready means connected to the broker too."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            if answer.status != 200:
                raise NotReadyError((await answer.text())[:500])
    except (aiohttp.ClientError, OSError) as error:
        raise NotReadyError(type(error).__name__) from error


PEERS: Final[Mapping[str, Peer]] = {"bento": Peer(_BINARIES / "bento", _bento)}
