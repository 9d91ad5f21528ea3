"""A broker that a test freezes, kills and brings back."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from deploy.local.child import kill_group
from deploy.local.kafka import KafkaNode
from deploy.local.ports import Ports
from tests.support.stack import formatted_node, running, temporary_folder


class FrailBroker:
    """One node whose folder and port stay the same from one life to the next."""

    def __init__(self, node: KafkaNode, lives: ExitStack) -> None:
        self._node = node
        self._lives = lives
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return self._node.bootstrap

    def start(self) -> None:
        """Blocks until the broker answers. Call it in the main thread: the broker ends with its thread."""
        self._process = self._lives.enter_context(running(self._node.program(), self._node.check))

    def kill(self) -> None:
        """SIGKILL: its data is what it was at this moment."""
        if self._process is not None:
            kill_group(self._process)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block connections stay open and nothing is answered."""
        if self._process is None:
            raise AssertionError("not started")
        pid = self._process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            # its threads go on for a moment
            os.waitpid(pid, os.WUNTRACED)
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def frail_broker() -> Iterator[FrailBroker]:
    """A running broker without topics; gone at the end."""
    with closing(Ports()) as ports, temporary_folder("kafka") as folder, ExitStack() as lives:
        broker = FrailBroker(formatted_node(folder, ports), lives)
        broker.start()
        yield broker
