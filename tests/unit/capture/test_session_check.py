from collections import deque

import pytest

from capture.lease import AccountBusyError
from capture.outcomes import CaptureRefusedError, Outcome
from capture.session import TradingViewSession
from capture.session_check import SPACING_S, CheckParts, Claimed, SessionCheck
from capture.session_page import Verdict
from runtime.errors import FatalError, TransientError
from schemas.plans import Plan
from schemas.records import CaptureEventKind
from tests.support.capture_parts import EventLog, KnownSessions, MemoryAccounts, user_id
from tests.support.clock import EagerClock

USER = user_id(1)


class Scene:
    """A check whose parts a test sets and looks at."""

    def __init__(self, verdict: Verdict = Verdict.VALID) -> None:
        self.due: deque[Claimed | Exception] = deque()
        self.verdict = verdict
        self.asked: list[TradingViewSession] = []
        self.sessions = KnownSessions()
        self.accounts = MemoryAccounts()
        self.log = EventLog()
        self.clock = EagerClock()
        self.check = SessionCheck(
            CheckParts(self, self.sessions, self.accounts, self, self.log.publish, self.clock, lambda: 0.5)
        )

    def owe(self) -> None:
        self.due.append(Claimed(USER, Plan.PRO))

    async def claim(self) -> Claimed | None:
        claimed = self.due.popleft() if self.due else None
        if isinstance(claimed, Exception):
            raise claimed
        return claimed

    async def ask(self, session: TradingViewSession) -> Verdict:
        assert self.accounts.leases[-1].in_use
        self.asked.append(session)
        return self.verdict


async def test_an_expired_session_is_told() -> None:
    """With its version and a signal of nobody's; this worker does not use it any more."""
    scene = Scene(Verdict.EXPIRED)
    scene.owe()
    assert await scene.check.check_next() is Verdict.EXPIRED
    [event] = scene.log.events
    assert (event.kind, event.reason) == (CaptureEventKind.SESSION_EXPIRED, "session_expired")
    assert (event.user_id, event.plan, event.session_version) == (USER, Plan.PRO, scene.sessions.version)
    assert len(event.signal_ids) == 1
    assert scene.sessions.marked == [(USER, scene.sessions.version)]
    assert not scene.accounts.leases[-1].in_use


@pytest.mark.parametrize("verdict", [Verdict.VALID, Verdict.UNKNOWN])
async def test_nothing_follows_from_any_other_answer(verdict: Verdict) -> None:
    """A site that is away ends nobody's session."""
    scene = Scene(verdict)
    scene.owe()
    assert await scene.check.check_next() is verdict
    assert (scene.log.events, scene.sessions.marked) == ([], [])


async def test_nobody_is_due() -> None:
    """Then the site is not asked."""
    scene = Scene()
    assert await scene.check.check_next() is None
    assert scene.asked == []


async def test_who_may_not_be_captured_is_not_asked_about() -> None:
    """Consent and switches are read again after the claim."""
    scene = Scene()
    scene.owe()
    scene.sessions.refusals[USER] = CaptureRefusedError(Outcome.NOT_CONSENTED)
    assert await scene.check.check_next() is None
    assert (scene.asked, scene.accounts.begun) == ([], [])


@pytest.mark.parametrize("obstacle", [AccountBusyError(1), CaptureRefusedError(Outcome.ACCOUNT_LIMIT)])
async def test_an_account_in_use_is_left_alone(obstacle: Exception) -> None:
    """A capture that is under way tells more than a check."""
    scene = Scene()
    scene.owe()
    scene.accounts.busy.append(obstacle)
    assert await scene.check.check_next() is None
    assert scene.asked == []


async def test_it_goes_on_when_the_database_is_away() -> None:
    """Waiting cures that; what it cannot cure ends the check."""
    scene = Scene(Verdict.EXPIRED)
    scene.due.append(TransientError("away"))
    scene.owe()
    scene.due.append(FatalError("wrong schema"))
    with pytest.raises(FatalError):
        await scene.check.run()
    assert len(scene.log.events) == 1
    assert scene.clock.sleeps_s == [SPACING_S] * 3
