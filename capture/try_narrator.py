"""Tells a person what goes on, one line a phase, each as soon as it is over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from capture.phases import WATCHER
from runtime.clock import Clock


class Narrator:
    """`say` is given the lines. In one phase at a time; entering the present one changes nothing."""

    def __init__(self, say: Callable[[str], None], clock: Clock) -> None:
        self._say = say
        self._clock = clock
        self._phase: str | None = None
        self._entered_s = 0.0

    def enter(self, phase: str) -> None:
        """Ends the phase before it."""
        if phase != self._phase:
            self.end()
            self._phase, self._entered_s = phase, self._clock.monotonic_s()

    def end(self) -> None:
        if self._phase is not None:
            spent_s = self._clock.monotonic_s() - self._entered_s
            self._say(f"{self._phase:20} {round(spent_s * 1000):6} ms")
        self._phase = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Also tells of the phases of captures in this task; the last phase ends with the block."""
        token = WATCHER.set(self.enter)
        try:
            yield
        finally:
            WATCHER.reset(token)
            self.end()
