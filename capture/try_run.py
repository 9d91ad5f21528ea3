"""One picture for a person at a terminal: as a worker takes it, but neither stored nor reported."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from capture.chart import view_of
from capture.engine import CaptureOrder, Engine, Shot, open_engine
from capture.lease import AccountBusyError, Lease, PageOrder
from capture.leases import AccountLeases, AccountTerms
from capture.session import SessionStore, TradingViewSession
from capture.settings import CaptureSettings
from capture.try_narrator import Narrator
from runtime.clock import Clock, utc_now
from runtime.encryption import KeyRing, parse_keys
from runtime.errors import InvalidError
from runtime.ids import SignalIds
from runtime.postgres import Pool, open_pool
from runtime.sql import load_queries
from schemas.plans import PLAN_TERMS, Plan
from schemas.records import CaptureRequest

ACCOUNT_PATIENCE_S: Final = 30.0
"""How long a picture of the pipeline's for the same account is waited for."""

_QUERIES: Final = load_queries("capture", "try.sql")


@dataclass(frozen=True, slots=True)
class Trial:
    """What to take a picture of. Without a chart it is the user's default one."""

    user_id: UUID
    ticker: str
    interval: str | None
    chart_id: str | None


async def take_picture(settings: CaptureSettings, trial: Trial, narrator: Narrator, clock: Clock) -> Shot:
    """One try, with a browser that is started for it and gone on return.

    Raises `CaptureFailedError`, `AccountBusyError`, `InvalidError` (`unknown_user no_chart invalid_chart
    invalid_ticker`), and what engine and database raise.
    """
    with narrator.listening():
        narrator.enter("session")
        async with open_pool(settings.postgres, "capture-try") as pool:
            request = await _request(pool, trial, clock)
            keyring = KeyRing(parse_keys(settings.encryption.keys))
            session = await SessionStore(pool, keyring).read(trial.user_id)
            order = _order(request, session)
            narrator.enter("browser")
            async with open_engine(settings, clock) as engine:
                leases = _leases(settings, pool, clock)
                return await _shoot(engine, order, leases, narrator)


async def _request(pool: Pool, trial: Trial, clock: Clock) -> CaptureRequest:
    plan = await pool.fetchval(_QUERIES["read_plan"], trial.user_id)
    if plan is None:
        raise InvalidError("unknown_user", str(trial.user_id))
    chart_id = trial.chart_id or await pool.fetchval(_QUERIES["read_default_chart"], trial.user_id)
    if chart_id is None:
        raise InvalidError("no_chart")
    now = utc_now(clock)
    return CaptureRequest(
        signal_id=SignalIds(clock).mint(),
        user_id=trial.user_id,
        plan=Plan(plan),
        request_no=1,
        received_at=now,
        capture_by=now,
        chart_id=chart_id,
        ticker=trial.ticker,
        interval=trial.interval,
    )


def _order(request: CaptureRequest, session: TradingViewSession) -> CaptureOrder:
    terms = PLAN_TERMS[request.plan]
    size = terms.picture_width_px, terms.picture_height_px
    return CaptureOrder(request.user_id, view_of(request), *size, session)


def _leases(settings: CaptureSettings, pool: Pool, clock: Clock) -> AccountLeases:
    capture = settings.capture
    terms = AccountTerms(capture.account_spacing_s, capture.account_hourly)
    return AccountLeases(pool, SignalIds(clock).mint(), settings.storage.key_secret, terms, clock)


async def _shoot(engine: Engine, order: CaptureOrder, leases: AccountLeases, narrator: Narrator) -> Shot:
    """One page of an account at a time holds for this one too."""
    narrator.enter("account")
    async with _renewing(leases):
        lease = await _begin(leases, order.session)
        try:
            async with lease.guard():
                return await engine.capture(order)
        finally:
            narrator.end()
            await leases.end(lease, keep=False)


@asynccontextmanager
async def _renewing(leases: AccountLeases) -> AsyncIterator[None]:
    task = asyncio.create_task(leases.run(), name="lease-renewal")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await leases.close()


async def _begin(leases: AccountLeases, session: TradingViewSession) -> Lease:
    page = PageOrder(leases.key_of(session), signal_ids=[], request_no=1, tries=1, reruns=0)
    busy = AccountBusyError(0)
    try:
        async with asyncio.timeout(ACCOUNT_PATIENCE_S):
            while True:
                try:
                    return await leases.begin(page)
                except AccountBusyError as error:
                    busy = error
                    await asyncio.sleep(error.wait_s)
    except TimeoutError:
        raise busy from None
