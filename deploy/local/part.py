"""What the supervisor keeps running."""

from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp

from deploy.local.child import Program
from deploy.local.errors import NotReadyError

_ANSWER_DEADLINE_S: Final = 3


class Part(Protocol):
    """One program of the stack and how to tell that it works."""

    @property
    def name(self) -> str: ...

    async def prepare(self) -> None:
        """Bring about what the program needs. Called before every start, so it must be safe to repeat.

        Raises `LocalError` when this cannot succeed.
        """

    def program(self) -> Program: ...

    async def check(self) -> None:
        """Return when the part works, soon raise `NotReadyError` when it does not yet.

        Raises `LocalError` when waiting will not help.
        """


@dataclass(frozen=True, slots=True)
class HttpPart:
    """A program that works once `url` answers 200."""

    name: str
    command: Program
    url: str

    async def prepare(self) -> None:
        """Needs nothing."""

    def program(self) -> Program:
        return self.command

    async def check(self) -> None:
        deadline = aiohttp.ClientTimeout(total=_ANSWER_DEADLINE_S)
        try:
            async with aiohttp.ClientSession(timeout=deadline) as session, session.get(self.url) as response:
                if response.status != 200:  # noqa: PLR2004 - HTTP's own word for it
                    raise NotReadyError(f"{self.name}: {await response.text()}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotReadyError(f"{self.name} does not answer") from error
