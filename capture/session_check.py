"""Asks now and then whether the sessions of users who get no pictures are still valid.

So a user learns of an expired session before the next alert needs it. One question at most in `SPACING_S`
over the whole group, and one a user in the period.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from capture.course import Publish
from capture.lease import AccountBusyError, Accounts, LeaseLostError, PageOrder
from capture.outcomes import CaptureRefusedError, Outcome
from capture.session import Sessions, TradingViewSession
from capture.session_page import SessionProbe, Verdict
from runtime.clock import Clock, utc_now
from runtime.errors import Failure, classify, reason_of
from runtime.ids import SignalIds, lowest_id_at
from runtime.logging import get_logger
from runtime.postgres import Pool
from runtime.sql import load_queries
from schemas.plans import Plan
from schemas.records import CaptureEvent, CaptureEventKind

SPACING_S: Final = 60.0

_LOCK: Final = 7_240_917_359
"""Advisory lock of those who look for the next user."""

_QUERIES: Final = load_queries("capture", "session_check.sql")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A user to ask about now. Nobody else asks."""

    user_id: UUID
    plan: Plan


class Claims(Protocol):
    async def claim(self) -> Claimed | None:
        """None: it is too early, or nobody is due. Raises what the database raises."""
        ...


class CheckClaims:
    """Claims in Postgres: of users who agree, count as signed in, and have had no picture for `period_s`."""

    def __init__(self, pool: Pool, clock: Clock, period_s: float, spacing_s: float = SPACING_S) -> None:
        self._pool = pool
        self._clock = clock
        self._period_s = period_s
        self._spacing_s = spacing_s

    async def claim(self) -> Claimed | None:
        since = lowest_id_at(self._clock.unix_ms() - round(self._period_s * 1000))
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_QUERIES["try_check_lock"], _LOCK):
                return None
            values = (self._spacing_s, self._period_s, since)
            row: Any = await connection.fetchrow(_QUERIES["claim_check"], *values)
        return Claimed(row["user_id"], Plan(row["plan"])) if row else None


@dataclass(frozen=True, slots=True)
class CheckParts:
    """What a check works with.

    `accounts` are of a holder of their own, not the worker's: an account that is in use anywhere is busy.
    """

    claims: Claims
    sessions: Sessions
    accounts: Accounts
    probe: SessionProbe
    publish: Publish
    clock: Clock
    random: Callable[[], float] = random.random


class SessionCheck:
    """`run` it beside a worker."""

    def __init__(self, parts: CheckParts) -> None:
        self._parts = parts
        self._ids = SignalIds(parts.clock)

    async def run(self) -> None:
        """Until cancelled. Raises what waiting cannot cure."""
        while True:
            # apart from the other workers, who were started together
            await self._parts.clock.sleep(SPACING_S * (0.5 + self._parts.random()))
            try:
                await self.check_next()
            except Exception as error:
                if classify(error) is not Failure.TRANSIENT:
                    raise
                log.warning("session_check_put_off", reason=reason_of(error))

    async def check_next(self) -> Verdict | None:
        """Ask about the next user who is due. None: there is none, or no session that may be used now."""
        claimed = await self._parts.claims.claim()
        if claimed is None:
            return None
        try:
            session = await self._parts.sessions.read(claimed.user_id)
            verdict = await self._ask(session)
        except (CaptureRefusedError, AccountBusyError, LeaseLostError) as obstacle:
            log.info("session_not_checked", reason=str(obstacle))
            return None
        log.info("session_checked", user_id=str(claimed.user_id), verdict=verdict)
        if verdict is Verdict.EXPIRED:
            self._parts.sessions.expired(claimed.user_id, session.version)
            await self._parts.publish(self._expired_event(claimed, session.version))
        return verdict

    async def _ask(self, session: TradingViewSession) -> Verdict:
        accounts = self._parts.accounts
        page = PageOrder(accounts.key_of(session), signal_ids=[], request_no=1, tries=1, reruns=0)
        lease = await accounts.begin(page)
        try:
            async with lease.guard():
                return await self._parts.probe.ask(session)
        finally:
            await accounts.end(lease, keep=False)

    def _expired_event(self, claimed: Claimed, version: int) -> CaptureEvent:
        """An event names a signal: this one is nobody's, so that it changes no row but the user's."""
        return CaptureEvent(
            kind=CaptureEventKind.SESSION_EXPIRED,
            signal_ids=[self._ids.mint()],
            user_id=claimed.user_id,
            plan=claimed.plan,
            request_no=1,
            occurred_at=utc_now(self._parts.clock),
            tries=0,
            fence=0,
            session_version=version,
            reason=Outcome.SESSION_EXPIRED,
        )
