"""Who may send, above all for tenants whose list is none."""

from collections.abc import Iterator, MutableMapping
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from aiohttp.test_utils import make_mocked_request

from ingest import senders
from ingest.refusal import Refusal
from ingest.senders import MAX_REPORTED, InvalidLists, SenderPolicy, sender_policy
from ingest.settings import IngestSection
from tests.support.tenants import Customer, new_customer

Lines = list[MutableMapping[str, Any]]
BAD = ["tradingview", "not-an-address"]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What is logged, by a logger that no other test has bound."""
    monkeypatch.setattr(senders, "log", structlog.stdlib.get_logger("test"))
    with structlog.testing.capture_logs() as caught:
        yield caught


def policy(**settings: object) -> SenderPolicy:
    return sender_policy(IngestSection.model_validate(settings))


def answer(policy: SenderPolicy, customer: Customer, peer: str = "203.0.113.7") -> tuple[int, str]:
    """Status and error for a call from this address."""
    transport = Mock()
    transport.get_extra_info = {"peername": (peer, 50_000)}.get
    try:
        policy.check(make_mocked_request("POST", "/", transport=transport), customer.tenant)
    except Refusal as refusal:
        return refusal.status, refusal.error
    return 200, ""


def test_a_bad_list_is_a_503_and_told_once_a_revision(lines: Lines) -> None:
    """The sender comes again, and the log says whose list it is without filling up or repeating the list."""
    policy_, customer = policy(), new_customer(allowed_addresses=BAD)
    for revision in (customer, customer.with_changes()):
        assert [answer(policy_, revision) for _ in range(3)] == [(503, "unavailable")] * 3
    expected = {
        "event": "tenant_addresses_invalid",
        "log_level": "error",
        "user_id": str(customer.tenant.user_id),
        "reason": "invalid_address",
    }
    assert lines == [{**expected, "revision": 1}, {**expected, "revision": 2}]


def test_a_corrected_list_is_in_force_at_once(lines: Lines) -> None:
    """The next revision counts alone."""
    policy_, customer = policy(), new_customer(allowed_addresses=BAD)
    assert answer(policy_, customer)[0] == 503
    corrected = customer.with_changes(allowed_addresses=["203.0.113.0/24"])
    assert answer(policy_, corrected) == (200, "")
    assert answer(policy_, corrected, "198.51.100.7") == (403, "address_not_allowed")
    assert len(lines) == 1


def test_a_bad_list_does_not_weaken_the_operators(lines: Lines) -> None:
    """Whom the operator's list refuses is refused for good, whatever the tenant's says."""
    customer = new_customer(allowed_addresses=BAD)
    assert answer(policy(allowed_addresses="::1"), customer) == (403, "address_not_allowed")
    assert lines == []


def test_bad_lists_of_everybody_fill_neither_memory_nor_log(lines: Lines) -> None:
    """Only so many tenants are named; those go on being told of with each revision."""
    told = InvalidLists()
    customers = [new_customer() for _ in range(MAX_REPORTED + 10)]
    for _ in range(2):
        for customer in customers:
            told.report(customer.tenant, "invalid_address")
    assert len(lines) == MAX_REPORTED
    told.report(customers[0].with_changes().tenant, "invalid_address")
    told.report(customers[-1].with_changes().tenant, "invalid_address")
    assert [line["revision"] for line in lines[MAX_REPORTED:]] == [2]


def test_a_sender_who_needs_no_check_costs_none() -> None:
    """Without lists and certificate not even the sender's address is looked for."""
    request = Mock(spec=[])
    policy().check(request, new_customer().tenant)
    with pytest.raises(AttributeError):
        policy().check(request, new_customer(allowed_addresses=["::1"]).tenant)
