"""Names of pictures: `<retention class>/<yyyy>/<mm>/<dd>/<name>.png`, and what a name tells.

The retention class is the plan that the picture was taken for; the day is the one that its time counts from.
So a store drops what is due by names alone, and a bucket by rules on prefixes.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from schemas.plans import PLAN_TERMS, Plan

LONGEST_KEPT_DAYS: Final = max(terms.pictures_kept_days for terms in PLAN_TERMS.values())

_KEY: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,128}/){0,8}[A-Za-z0-9_-]{1,128}\.png")
_DATED: Final = re.compile(r"([a-z]+)/([0-9]{4})/([0-9]{2})/([0-9]{2})/.+")


def is_picture_key(text: str) -> bool:
    """Whether it can name a picture: plain parts that lead nowhere else."""
    return _KEY.fullmatch(text) is not None


def day_folder(plan: Plan, day: date) -> str:
    """Where the pictures of a retention class and a day are."""
    return f"{plan}/{day:%Y/%m/%d}"


def kept_until(plan: Plan, day: date) -> datetime:
    """The midnight after which a picture of that day is kept no longer, counted as the rules of S3 do."""
    first = datetime.combine(day, time(), UTC)
    return first + timedelta(days=PLAN_TERMS[plan].pictures_kept_days + 1)


def is_past_retention(key: str, now: datetime) -> bool:
    """False also for the names given before there were retention classes."""
    dated = _day_of(key)
    return dated is not None and now >= kept_until(*dated)


def lifecycle_rules(prefix: str | None) -> Iterator[dict[str, object]]:
    """Rules of a bucket, in the form that S3 and R2 take, that expire each retention class."""
    for plan, terms in PLAN_TERMS.items():
        yield {
            "ID": f"alerts-pictures-{plan}",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{prefix}/{plan}/" if prefix else f"{plan}/"},
            "Expiration": {"Days": terms.pictures_kept_days},
        }


def _day_of(key: str) -> tuple[Plan, date] | None:
    parts = _DATED.fullmatch(key)
    if parts is None:
        return None
    try:
        year, month, day = (int(part) for part in parts.groups()[1:])
        return Plan(parts[1]), date(year, month, day)
    except ValueError:
        return None
