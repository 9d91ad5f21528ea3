from datetime import UTC, date, datetime, timedelta

import pytest

from runtime.pictures import day_folder, is_past_retention, is_picture_key, kept_until, lifecycle_rules
from schemas.plans import PLAN_TERMS, Plan

DAY = date(2026, 3, 14)
MIDNIGHT = datetime(2026, 3, 14, tzinfo=UTC)


@pytest.mark.parametrize("plan", Plan)
def test_a_picture_is_kept_for_the_days_of_its_plan(plan: Plan) -> None:
    """Whatever hour of its day it was taken, it has them in full, and goes with the midnight after."""
    key = f"{day_folder(plan, DAY)}/a.png"
    end = MIDNIGHT + timedelta(days=PLAN_TERMS[plan].pictures_kept_days + 1)
    assert kept_until(plan, DAY) == end
    assert not is_past_retention(key, end - timedelta(milliseconds=1))
    assert is_past_retention(key, end)


@pytest.mark.parametrize(
    "key", ["ab/abcdef.png", "gold/2020/01/01/a.png", "free/2020/02/30/a.png", "free/2020/1/1/a.png", ""]
)
def test_a_name_that_tells_no_plan_or_day_is_never_past_its_retention(key: str) -> None:
    """Names given before there were retention classes keep working."""
    assert not is_past_retention(key, datetime(2100, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("key", ["a.png", "ab/c_d-1.png", "free/2026/03/14/abc.png"])
def test_plain_names_are_keys(key: str) -> None:
    """Of now and of before."""
    assert is_picture_key(key)


@pytest.mark.parametrize(
    "key", ["", "../a.png", "a/../b.png", "/a.png", "a//b.png", "a.png\n", "a.jpg", "a/.png"]
)
def test_what_may_lead_elsewhere_is_no_key(key: str) -> None:
    """Neither a path out of the folder nor a name with more to it."""
    assert not is_picture_key(key)


@pytest.mark.parametrize(("prefix", "first"), [(None, "premium/"), ("alerts/eu", "alerts/eu/premium/")])
def test_a_bucket_has_a_rule_for_each_plan(prefix: str | None, first: str) -> None:
    """By the prefix under which the keys of the plan are, with its days."""
    rules = list(lifecycle_rules(prefix))
    assert [rule["Expiration"] for rule in rules] == [{"Days": days} for days in (365, 90, 60, 30)]
    assert rules[0]["Filter"] == {"Prefix": first}
    assert len({str(rule["ID"]) for rule in rules}) == len(Plan)
