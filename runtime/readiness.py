"""Whether this process can do its work now: named checks, run together under one deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from runtime.logging import get_logger

Check = Callable[[], Awaitable[None]]

CHECK_DEADLINE_S: Final = 3.0

log = get_logger(__name__)


class Readiness:
    """Checks that raise when something is wrong. Added while the role starts, run on each request."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._failing: dict[str, str] = {}

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    async def problems(self) -> dict[str, str]:
        """The failing checks by name with the exception's type. Empty means ready; never raises."""
        names = list(self._checks)
        results = await asyncio.gather(*(self._run(self._checks[name]) for name in names))
        failing = {name: problem for name, problem in zip(names, results, strict=True) if problem}
        if failing != self._failing:
            log.info("readiness_changed", failing=failing)
            self._failing = failing
        return failing

    async def _run(self, check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                await check()
        except Exception as error:  # noqa: BLE001 - any failure of a check means not ready
            return type(error).__name__
        return ""
