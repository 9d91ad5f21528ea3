"""Leases in Postgres: one page at a time of a TradingView account, whichever workers serve its users.

Where a fence is checked: with the statement that stores a try and with the one that ends its page, before
anything of the try is told. Behind that stands the rule of the store: a row keeps the greatest
(request_no, rank), a picture is written once, so even an event that froze on its way to Kafka can neither
undo a final outcome nor bring another picture.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn
from uuid import UUID

from pydantic import SecretStr

from capture.accounts import account_key
from capture.lease import AccountBusyError, Lease, LeaseLostError, PageOrder
from capture.outcomes import CaptureRefusedError, Outcome
from capture.session import TradingViewSession
from runtime.clock import Clock
from runtime.errors import Failure, classify, reason_of
from runtime.logging import get_logger
from runtime.postgres import Pool
from runtime.sql import load_queries

_QUERIES: Final = load_queries("capture", "leases.sql")
_RENEWAL_DEADLINE_S: Final = 3.0
_RELEASE_DEADLINE_S: Final = 1.0
_POLL_S: Final = 1.0
"""How often a worker asks for an account that another one has."""

_YIELD_S: Final = 2.5
"""Long enough for a worker that polls to get the account."""

_FORGET_EVERY_S: Final = 600.0
_TRIES_KEPT_S: Final = 6 * 3600.0
"""Much longer than a picture is of use."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """`spacing_s` lies between two pages of an account, `hourly` is the most in any hour; 0: no limit.

    A lease lasts `ttl_s` by the database's clock. After `give_up_s` without a renewal its holder closes the
    page, which leaves it the rest of `ttl_s` to do so. `hold_s`: how long one worker keeps an account that
    another wants, or one that it does not use.
    """

    spacing_s: float = 0.0
    hourly: int = 0
    ttl_s: float = 15.0
    renew_every_s: float = 5.0
    give_up_s: float = 10.0
    hold_s: float = 30.0


class AccountLeases:
    """The leases of one worker. `holder` names the worker, and no other that ever was."""

    def __init__(
        self, pool: Pool, holder: UUID, secret: SecretStr, terms: AccountTerms, clock: Clock
    ) -> None:
        self._pool = pool
        self._holder = holder
        self._secret = secret
        self._terms = terms
        self._clock = clock
        self._held: dict[bytes, Lease] = {}

    def key_of(self, session: TradingViewSession) -> bytes:
        return account_key(self._secret, session)

    async def begin(self, order: PageOrder) -> Lease:
        lease = self._held.get(order.account) or await self._take(order.account)
        # from here on it is not let go of as unused
        lease.in_use = True
        sent_at_s = self._clock.monotonic_s()
        if not await self._open_page(lease, order):
            await self._explain(lease)
        lease.renewed(sent_at_s)
        return lease

    async def end(self, lease: Lease, *, keep: bool) -> float:
        terms, now_s = self._terms, self._clock.monotonic_s()
        is_long = now_s - lease.taken_at_s >= terms.hold_s
        is_kept = await self._pool.fetchval(
            _QUERIES["end_page"], *self._names(lease), terms.spacing_s, terms.ttl_s, keep, is_long
        )
        lease.in_use, lease.used_at_s = False, now_s
        if is_kept is None:
            self._drop(lease)
            raise LeaseLostError
        if not is_kept:
            self._drop(lease)
        return max(terms.spacing_s, _YIELD_S) if keep and not is_kept else terms.spacing_s

    async def run(self) -> None:
        """Renew what is held, let go of what is not used. For ever; raises what waiting cannot cure."""
        forget_at_s = self._clock.monotonic_s()
        while True:
            await self._clock.sleep(self._terms.renew_every_s)
            while not await self._passes(self.renew):
                await self._clock.sleep(self._terms.renew_every_s / 5)
            if self._clock.monotonic_s() >= forget_at_s:
                forget_at_s += _FORGET_EVERY_S
                await self._passes(self._forget)

    async def renew(self) -> None:
        """Once. Whoever holds what could not be renewed in time loses it by itself."""
        leases = list(self._held.values())
        if not leases:
            return
        sent_at_s = self._clock.monotonic_s()
        rows = await self._pool.fetch(_QUERIES["renew_leases"], *self._names_of(leases), self._terms.ttl_s)
        wanted = {bytes(row["account_key"]): row["is_wanted"] for row in rows}
        for lease in leases:
            if lease.account not in wanted:
                self._lose(lease)
            else:
                lease.renewed(sent_at_s)
        await self._release([lease for lease in leases if self._is_idle(lease, wanted)])

    async def close(self) -> None:
        """Let go of all, so that the next worker need not wait. Never raises."""
        with suppress(Exception):
            async with asyncio.timeout(_RELEASE_DEADLINE_S):
                await self._release(list(self._held.values()))

    async def _take(self, account: bytes) -> Lease:
        fence = await self._pool.fetchval(_QUERIES["take_lease"], account, self._holder, self._terms.ttl_s)
        if fence is None:
            wait_s = await self._pool.fetchval(_QUERIES["want_lease"], account)
            raise AccountBusyError(min(max(wait_s or 0.0, 0.05), _POLL_S))
        lease = self._held[account] = Lease(account, fence, self._clock, self._terms.give_up_s)
        return lease

    async def _open_page(self, lease: Lease, order: PageOrder) -> bool:
        terms = self._terms
        fence = await self._pool.fetchval(
            _QUERIES["begin_page"],
            *self._names(lease),
            terms.ttl_s,
            terms.spacing_s,
            terms.hourly,
            list(order.signal_ids),
            order.request_no,
            order.tries,
            order.reruns,
        )
        return fence is not None

    async def _explain(self, lease: Lease) -> NoReturn:
        """Why no page may be opened."""
        state = await self._pool.fetchrow(_QUERIES["lease_state"], *self._names(lease))
        lease.in_use, lease.used_at_s = False, self._clock.monotonic_s()
        if state is None or not state["is_held"]:
            self._lose(lease)
            raise AccountBusyError(0.05)
        if state["rest_s"] <= 0 and 0 < self._terms.hourly <= state["pages"]:
            raise CaptureRefusedError(Outcome.ACCOUNT_LIMIT)
        raise AccountBusyError(max(state["rest_s"], 0.05))

    async def _release(self, leases: Sequence[Lease]) -> None:
        # whoever wants one of them from now on takes it anew
        for lease in leases:
            self._drop(lease)
        if leases:
            await self._pool.execute(_QUERIES["release_leases"], *self._names_of(leases))

    async def _forget(self) -> None:
        await self._pool.execute(_QUERIES["forget_leases"])
        await self._pool.execute(_QUERIES["forget_tries"], _TRIES_KEPT_S)

    async def _passes(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(_RENEWAL_DEADLINE_S):
                await work()
        except Exception as error:
            if classify(error) is not Failure.TRANSIENT:
                raise
            log.warning("leases_not_renewed", held=len(self._held), reason=reason_of(error))
            return False
        return True

    def _is_idle(self, lease: Lease, wanted: dict[bytes, bool]) -> bool:
        if lease.in_use or self._held.get(lease.account) is not lease:
            return False
        idle_s = self._clock.monotonic_s() - lease.used_at_s
        return idle_s >= (self._terms.spacing_s if wanted[lease.account] else self._terms.hold_s)

    def _lose(self, lease: Lease) -> None:
        log.warning("lease_lost", fence=lease.fence, in_use=lease.in_use)
        self._drop(lease)
        lease.lose()

    def _drop(self, lease: Lease) -> None:
        if self._held.get(lease.account) is lease:
            del self._held[lease.account]

    def _names(self, lease: Lease) -> tuple[bytes, UUID, int]:
        return lease.account, self._holder, lease.fence

    def _names_of(self, leases: Sequence[Lease]) -> tuple[UUID, list[bytes], list[int]]:
        return self._holder, [lease.account for lease in leases], [lease.fence for lease in leases]
