"""How the site behaves for a chart id. Reserved ids get a state of their own here."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

_PUBLIC_PREFIX: Final = "Public"
_HEAVY_PREFIX: Final = "Heavy"


class Answer(StrEnum):
    """What the server does with the request of a signed-in user."""

    CHART = "chart"
    SIGNED_OUT = "signed_out"
    SIGN_IN = "sign_in"
    PRIVATE = "private"
    CAPTCHA = "captcha"
    MISSING = "missing"
    STATUS = "status"
    OFF_SITE = "off_site"
    SILENCE = "silence"
    DRIP = "drip"


class Prank(StrEnum):
    """What the page does by script once its data has come; `pranks.js` has one function for each."""

    RECONNECT = "reconnect"
    FLAGGED = "flagged"
    PROMO = "promo"
    ALERTS = "alerts"
    OFFER = "offer"
    COOKIES = "cookies"
    LOADER = "loader"
    BLANK = "blank"
    NO_BARS = "no_bars"
    STALE = "stale"
    ECHO = "echo"
    STUCK = "stuck"
    ALERT_BOX = "alert_box"
    LOOP = "loop"
    MEMORY = "memory"
    CRASH = "crash"
    LEAVE = "leave"
    WORKER = "worker"
    HUGE = "huge"


@dataclass(frozen=True, slots=True)
class ChartState:
    """`anonymous`: whether the signed-out see the chart. `status` is what `Answer.STATUS` answers with."""

    anonymous: bool = False
    answer: Answer = Answer.CHART
    status: int = 200
    prank: Prank | None = None
    is_heavy: bool = False


ORDINARY: Final = ChartState()

RESERVED: Final[Mapping[str, ChartState]] = MappingProxyType(
    {
        "StateSignedOut": ChartState(answer=Answer.SIGNED_OUT),
        "StateSignIn": ChartState(answer=Answer.SIGN_IN),
        "StatePrivate": ChartState(answer=Answer.PRIVATE),
        "StateCaptcha": ChartState(answer=Answer.CAPTCHA),
        "StateMissing": ChartState(answer=Answer.MISSING),
        "StateForbidden": ChartState(answer=Answer.STATUS, status=403),
        "StateTooMany": ChartState(answer=Answer.STATUS, status=429),
        "StateBroken": ChartState(answer=Answer.STATUS, status=503),
        "StateOffSite": ChartState(answer=Answer.OFF_SITE),
        "StateSilence": ChartState(answer=Answer.SILENCE),
        "StateDrip": ChartState(answer=Answer.DRIP),
        "StateReconnect": ChartState(prank=Prank.RECONNECT),
        "StateFlagged": ChartState(prank=Prank.FLAGGED),
        "StatePromo": ChartState(prank=Prank.PROMO),
        "StateAlerts": ChartState(prank=Prank.ALERTS),
        "StateOffer": ChartState(prank=Prank.OFFER),
        "StateCookies": ChartState(prank=Prank.COOKIES),
        "StateLoader": ChartState(prank=Prank.LOADER),
        "StateBlank": ChartState(prank=Prank.BLANK),
        "StateNoBars": ChartState(prank=Prank.NO_BARS),
        "StateStale": ChartState(prank=Prank.STALE),
        "StateEcho": ChartState(prank=Prank.ECHO),
        "StateStuck": ChartState(prank=Prank.STUCK),
        "StateAlertBox": ChartState(prank=Prank.ALERT_BOX),
        "StateLoop": ChartState(prank=Prank.LOOP),
        "StateMemory": ChartState(prank=Prank.MEMORY),
        "StateCrash": ChartState(prank=Prank.CRASH),
        "StateLeave": ChartState(prank=Prank.LEAVE),
        "StateWorker": ChartState(prank=Prank.WORKER),
        "StateHuge": ChartState(prank=Prank.HUGE),
    }
)
"""States by chart id; what is not listed is an ordinary chart."""


def state_of(chart_id: str) -> ChartState:
    """Ids that start with `Public` are for all; those with `Heavy` are as heavy as the real site."""
    reserved = RESERVED.get(chart_id)
    if reserved is not None:
        return reserved
    return ChartState(
        anonymous=chart_id.startswith(_PUBLIC_PREFIX), is_heavy=chart_id.startswith(_HEAVY_PREFIX)
    )
