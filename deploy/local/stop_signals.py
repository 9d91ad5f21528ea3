"""How a person or a program ends the supervisor."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_HANDLED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """The first signal asks to stop, every later one to hurry."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def receive(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


@asynccontextmanager
async def stop_signals() -> AsyncIterator[StopSignals]:
    """Handle SIGINT, SIGTERM and SIGHUP; the handlers are removed on exit."""
    signals = StopSignals()
    loop = asyncio.get_running_loop()
    # nohup asks to survive the terminal
    handled = [number for number in _HANDLED if not _ignores_hangup(number)]
    for number in handled:
        loop.add_signal_handler(number, signals.receive)
    try:
        yield signals
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _ignores_hangup(number: signal.Signals) -> bool:
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
