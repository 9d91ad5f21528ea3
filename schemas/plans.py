"""Subscription plans: what a tenant may send, keep and have captured (design: plan table)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Plan(StrEnum):
    """Members are ordered from the most to the least urgent: captures are granted in this order."""

    # the enum's own hash is written in Python, and plans are keys on every hot path
    __hash__ = str.__hash__

    PREMIUM = "premium"
    PRO = "pro"
    BASIC = "basic"
    FREE = "free"


class QuotaMode(StrEnum):
    STRICT = "strict"
    SOFT = "soft"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """Defaults of one plan. Rates are per second, retention is in days, the picture in CSS pixels."""

    rate_per_s: int
    burst: int
    signals_per_month: int | None
    quota_mode: QuotaMode
    picture_width_px: int
    picture_height_px: int
    signals_kept_days: int
    pictures_kept_days: int
    capture_within_s: int = 15 * 60


PLAN_TERMS: Final[dict[Plan, PlanTerms]] = {
    Plan.PREMIUM: PlanTerms(20, 1_000, None, QuotaMode.OFF, 1920, 1080, 730, 365),
    Plan.PRO: PlanTerms(10, 600, 15_000, QuotaMode.SOFT, 1920, 1080, 365, 90),
    Plan.BASIC: PlanTerms(5, 300, 5_000, QuotaMode.STRICT, 1280, 720, 180, 60),
    Plan.FREE: PlanTerms(2, 120, 1_000, QuotaMode.STRICT, 1280, 720, 90, 30),
}
