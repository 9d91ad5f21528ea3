"""aiokafka's connections on uvloop: what is sent over one that was reset fails as a broken connection does.

aiokafka 0.14.0 counts a connection as good until the task that reads it has seen the reset. What is written
in between goes to a closed transport: asyncio's drops it, uvloop's raises `RuntimeError`, which aiokafka does
not expect (aiokafka#1038). It ends the task that keeps a client's metadata fresh, without a word, and whoever
waits for that waits for ever: the consumer still fetches, but neither heartbeats nor commits. Seen once in
some hundred kills of a broker.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason

Send = Callable[..., Any]


@cache
def guard_connections() -> None:
    """For all clients of this process; call before the first of them connects."""
    for name in ("send", "_send_sasl_token"):
        setattr(AIOKafkaConnection, name, _guarded(getattr(AIOKafkaConnection, name)))


def _guarded(send: Send) -> Send:
    """Closes a connection that is lost before aiokafka knows; `send` then raises `KafkaConnectionError`."""

    @wraps(send)
    def guarded(connection: AIOKafkaConnection, *args: Any, **options: Any) -> Any:
        writer = connection._writer  # noqa: SLF001 - aiokafka offers no sign of a reset connection
        if writer is not None and writer.transport.is_closing():
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
        return send(connection, *args, **options)

    return guarded
