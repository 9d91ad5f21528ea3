"""`python -m deploy.local.class_archive FOLDER`: makes every later start of the embedded broker quicker.

Runs a broker once, with the libraries in `FOLDER/libs`, and keeps its classes as Java has loaded and checked
them: half of what a start takes. Java passes over an archive that does not fit it or the libraries.
"""

import asyncio
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from deploy.local.child import launch, stop
from deploy.local.errors import LocalError, NotReadyError
from deploy.local.kafka import KafkaNode, class_archive
from deploy.local.ports import Ports, PortWish

_START_DEADLINE_S: Final = 60
_ARCHIVE_DEADLINE_S: Final = 60
_FIRST_PORT: Final = 19092


async def archive_classes(libraries: Path) -> None:
    """Raises `LocalError` when the broker does not start, or ends without an archive."""
    with tempfile.TemporaryDirectory(prefix="alerts-classes-") as folder, closing(Ports()) as ports:
        first, second = (ports.grant(PortWish("KAFKA_PORT", _FIRST_PORT)) for _ in range(2))
        node = KafkaNode(Path(folder) / "node", libraries, first, second, Path(folder) / "log")
        await node.prepare()
        await _run_once(node)
        if not class_archive(libraries).exists():
            raise LocalError(f"the broker left no archive of its classes:\n{node.log.read_text()[-2000:]}")


async def _run_once(node: KafkaNode) -> None:
    program = node.archiving_program()
    process = launch(program)
    try:
        async with asyncio.timeout(_START_DEADLINE_S):
            while not await _answers(node):
                if process.poll() is not None:
                    raise LocalError(f"the broker did not start:\n{node.log.read_text()[-2000:]}")
    finally:
        await stop(process, program.stop_signal, _ARCHIVE_DEADLINE_S)


async def _answers(node: KafkaNode) -> bool:
    try:
        await node.check()
    except NotReadyError:
        await asyncio.sleep(0.1)
        return False
    return True


if __name__ == "__main__":
    asyncio.run(archive_classes(Path(sys.argv[1]) / "libs"))
