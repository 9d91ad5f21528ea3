"""The right to open pages of one TradingView account, as the worker that holds it sees it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from capture.session import TradingViewSession
from runtime.clock import Clock
from runtime.errors import AlertsError


class AccountBusyError(AlertsError):
    """The account may not be used now: the request waits outside the slot, and no try is used."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("account_busy")
        self.wait_s = wait_s


class LeaseLostError(AlertsError):
    """The account may be another worker's by now: what was done with it since must not be told."""


@dataclass(frozen=True, slots=True)
class PageOrder:
    """A page of an account to be opened, and the try that this makes of a request and those that share it."""

    account: bytes
    signal_ids: Sequence[UUID]
    request_no: int
    tries: int
    reruns: int


class Lease:
    """`fence` is greater than that of everybody who held the account before.

    Whoever holds one calls `renewed` with the moment before the renewal was sent, or `lose`.
    """

    def __init__(self, account: bytes, fence: int, clock: Clock, give_up_s: float) -> None:
        self.account = account
        self.fence = fence
        self.in_use = True
        self.taken_at_s = self.used_at_s = clock.monotonic_s()
        self._clock = clock
        self._give_up_s = give_up_s
        self._ends_at_s = self.taken_at_s + give_up_s
        self._limit: asyncio.Timeout | None = None

    def renewed(self, sent_at_s: float) -> None:
        self._ends_at_s = sent_at_s + self._give_up_s
        self._set_limit()

    def lose(self) -> None:
        """It is another's: whoever works under it stops at once."""
        self._ends_at_s = self._clock.monotonic_s()
        self._set_limit()

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Ends the body with `LeaseLostError` when renewals have failed for too long, or it is another's."""
        limit = asyncio.timeout(self._left_s())
        try:
            async with limit:
                self._limit = limit
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise LeaseLostError from error
        finally:
            self._limit = None

    def _set_limit(self) -> None:
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + self._left_s())

    def _left_s(self) -> float:
        return max(self._ends_at_s - self._clock.monotonic_s(), 0.0)


class Accounts(Protocol):
    """Who may open pages. Errors beside those named are the database's, when it is away."""

    def key_of(self, session: TradingViewSession) -> bytes:
        """Names the account of a session."""
        ...

    async def begin(self, order: PageOrder) -> Lease:
        """The page may be opened, and the try is stored.

        Raises `AccountBusyError`, or `CaptureRefusedError` (`account_limit`). One page of an account at a
        time; each is ended with `end`.
        """
        ...

    async def end(self, lease: Lease, *, keep: bool) -> float:
        """The page is closed. Returns for how many seconds the account must rest.

        `keep` when there is more to do for the account. Raises `LeaseLostError` when it has been another's
        since `begin`: its fence is checked here, before anything is told.
        """
        ...
