"""Keeps parts running: starts them, says so when one ends, starts it again, ends them all."""

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from deploy.local.child import Program, ended, launch, stop
from deploy.local.errors import LocalError, NotReadyError
from deploy.local.part import Part
from runtime.backoff import backoff_s
from runtime.clock import Clock

HEALTHY_AFTER_S: Final = 30.0
"""A part that worked this long is restarted at once, as if it had never failed."""

START_TRIES: Final = 5
START_DEADLINE_S: Final = 120.0

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_CHECK_EVERY_S: Final = 0.1
_SHOWN_LOG_LINES: Final = 12

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a program ended. `worked_s` is None when it never answered."""

    code: int
    worked_s: float | None

    def __str__(self) -> str:
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


class KeptPart:
    """One part, kept running from `start` until `stop`.

    The owner calls `start` once, may await `ready`, and must await `stop`. Restarts are endless once the
    part has worked; before that it is given up, and `ready` raises, after a few tries.
    """

    def __init__(self, part: Part, clock: Clock, say: Say, stop_deadline_s: float) -> None:
        self.name = part.name
        self._part = part
        self._clock = clock
        self._say = say
        self._stop_deadline_s = stop_deadline_s
        self._working = asyncio.Event()
        self._has_worked = False
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def ready(self) -> None:
        """Return when the part works. Raises `LocalError` when it was given up."""
        assert self._keeping is not None, "start() comes first"  # noqa: S101 - the contract
        working = asyncio.create_task(self._working.wait())
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                await asyncio.wait({working, self._keeping}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise LocalError(self._complaint(f"did not get ready in {START_DEADLINE_S:g} s")) from error
        finally:
            working.cancel()
        if self._keeping.done():
            await self._keeping

    async def failed(self) -> None:
        """Never returns; raises what made it impossible to keep the part running."""
        assert self._keeping is not None, "start() comes first"  # noqa: S101 - the contract
        await asyncio.shield(self._keeping)

    async def stop(self) -> None:
        """End the part: its stop signal, the deadline, then SIGKILL. Cancelled: SIGKILL at once."""
        if self._keeping is None:
            return
        self._keeping.cancel()
        try:
            await asyncio.wait({self._keeping})
        except asyncio.CancelledError:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
            raise

    async def _keep(self) -> None:
        waits = backoff_s(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        tries = 0
        while True:
            outcome = await self._run()
            tries += 1
            if outcome.worked_s is not None and outcome.worked_s >= HEALTHY_AFTER_S:
                waits = backoff_s(_FIRST_WAIT_S, _LONGEST_WAIT_S)
            if not self._has_worked and tries >= START_TRIES:
                raise LocalError(self._complaint(f"ended {tries} times without having worked ({outcome})"))
            self._say(f"{self.name} ended ({outcome}), restarting…")
            await self._clock.sleep(next(waits))

    async def _run(self) -> Outcome:
        program, process = await self._launched()
        worked_from_s = None
        try:
            worked_from_s = await self._until_working(process)
            code = await ended(process)
        finally:
            self._working.clear()
            await stop(process, program.stop_signal, self._stop_deadline_s)
        worked_s = None if worked_from_s is None else self._clock.monotonic_s() - worked_from_s
        return Outcome(code, worked_s)

    async def _launched(self) -> tuple[Program, subprocess.Popen[bytes]]:
        while True:
            try:
                await self._part.prepare()
                program = self._part.program()
                return program, launch(program)
            except (LocalError, OSError) as error:
                # at the first start a person is watching and can act; later, a full disk may get space again
                if not self._has_worked:
                    raise
                self._say(f"{self.name} cannot be started: {error}")
                await self._clock.sleep(_LONGEST_WAIT_S)

    async def _until_working(self, process: subprocess.Popen[bytes]) -> float | None:
        """When the part began to work; None when its process ended before."""
        ending = asyncio.create_task(ended(process))
        try:
            while not ending.done():
                if await self._works():
                    self._announce()
                    return self._clock.monotonic_s()
                await asyncio.wait({ending}, timeout=_CHECK_EVERY_S)
        finally:
            ending.cancel()
        return None

    async def _works(self) -> bool:
        try:
            await self._part.check()
        except NotReadyError:
            return False
        return True

    def _announce(self) -> None:
        if self._has_worked:
            self._say(f"{self.name} is back")
        self._has_worked = True
        self._working.set()

    def _complaint(self, what: str) -> str:
        log = self._part.program().log
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n  ".join([f"{self.name} {what}; the end of {log}:", *lines[-_SHOWN_LOG_LINES:]])
