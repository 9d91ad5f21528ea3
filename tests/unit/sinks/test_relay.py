"""What the relay makes of rows."""

from uuid import UUID

import pytest

from schemas.plans import Plan
from schemas.records import Tenant
from sinks.relay import missing_tenants, tenant_of
from tests.support.tenants import new_user_id

USER = new_user_id()
ROW = {
    "id": USER,
    "revision": 7,
    "plan": "pro",
    "webhook_enabled": True,
    "deleted": False,
    "token_hash": "aa",
    "previous_token_hash": None,
    "captures_enabled": True,
    "default_chart_id": "Ab3dE9xZ",
    "allowed_addresses": ["tradingview"],
}


def test_a_row_becomes_the_public_record() -> None:
    """Hashes, limits, defaults and who may send; nothing that is not needed by readers."""
    assert tenant_of(ROW) == Tenant(
        user_id=USER,
        revision=7,
        plan=Plan.PRO,
        token_hashes=["aa"],
        webhook_enabled=True,
        captures_enabled=True,
        default_chart_id="Ab3dE9xZ",
        allowed_addresses=["tradingview"],
    )


def test_both_tokens_of_a_rotation_are_valid_at_first() -> None:
    """The previous token's hash stands beside the new one's."""
    assert tenant_of({**ROW, "previous_token_hash": "bb"}).token_hashes == ["aa", "bb"]


@pytest.mark.parametrize(
    ("on_topic", "lost"), [({}, True), ({USER: 6}, True), ({USER: 7}, False), ({USER: 8}, False)]
)
def test_a_tenant_is_missing_while_the_topic_holds_less_than_was_published(
    on_topic: dict[UUID, int], *, lost: bool
) -> None:
    """A topic that was made anew, or restored from before, lacks what was marked as published."""
    rows = [{"id": USER, "published_revision": 7}]
    assert missing_tenants(rows, on_topic) == ([USER] if lost else [])
