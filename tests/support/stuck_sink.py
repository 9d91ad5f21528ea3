"""`alerts sink`, stuck for ever in its first batch: `python -m tests.support.stuck_sink before|after`.

Before or after the batch's messages are published; its rows are committed by then, its records not.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from unittest.mock import patch

from runtime.logging import get_logger
from runtime.process import run_command
from runtime.publisher import Message, Publisher, open_publisher
from runtime.settings import KafkaSettings
from schemas.topics import SIGNALS_STORED
from sinks.command import serve_sink
from sinks.settings import SinkSettings

log = get_logger(__name__)


class StuckPublisher:
    """Passes on what is not of a batch of signals."""

    def __init__(self, publisher: Publisher, moment: str) -> None:
        self._publisher = publisher
        self._moment = moment

    async def publish(self, messages: Sequence[Message]) -> None:
        of_batch = any(message.topic == SIGNALS_STORED.name for message in messages)
        if not of_batch or self._moment == "after":
            await self._publisher.publish(messages)
        if of_batch:
            log.info("stuck")
            await asyncio.Event().wait()


def main(moment: str) -> None:
    @asynccontextmanager
    async def stuck(settings: KafkaSettings, client_id: str) -> AsyncIterator[StuckPublisher]:
        async with open_publisher(settings, client_id) as publisher:
            yield StuckPublisher(publisher, moment)

    with patch("sinks.command.open_publisher", stuck):
        run_command("sink", SinkSettings, serve_sink, dict(os.environ))  # noqa: TID251 - a process's edge


if __name__ == "__main__":
    main(sys.argv[1])
