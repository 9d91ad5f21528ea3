"""When a client certificate that a proxy saw is believed."""

import pytest
from multidict import CIMultiDict

from ingest.certificate import INVALID_SUBJECT, TRADINGVIEW_SUBJECT, CertificatePolicy, certificate_ok
from runtime.errors import InvalidError

VERIFY = "X-SSL-Client-Verify"
SUBJECT = "X-SSL-Client-S-DN"
POLICY = CertificatePolicy()


def believed(
    *headers: tuple[str, str], trusted: bool = True, policy: CertificatePolicy | None = POLICY
) -> bool:
    return certificate_ok(policy, CIMultiDict(headers), peer_is_trusted=trusted)


def names(subject: str) -> bool:
    """Whether a verified certificate with this subject is TradingView's."""
    return believed((VERIFY, "SUCCESS"), (SUBJECT, subject))


def test_a_verified_certificate_of_tradingview_is_believed() -> None:
    """Header names in any case."""
    assert names(TRADINGVIEW_SUBJECT)
    assert believed((VERIFY.lower(), "SUCCESS"), (SUBJECT.upper(), TRADINGVIEW_SUBJECT))


def test_only_a_trusted_proxy_is_believed() -> None:
    """Anybody can send these headers."""
    assert not believed((VERIFY, "SUCCESS"), (SUBJECT, TRADINGVIEW_SUBJECT), trusted=False)


def test_without_a_policy_nothing_is_asked() -> None:
    """The check is optional."""
    assert believed(trusted=False, policy=None)


@pytest.mark.parametrize("result", ["", "NONE", "FAILED:certificate has expired", "success", "SUCCESS, NONE"])
def test_what_is_not_verified_is_not_believed(result: str) -> None:
    """A right subject alone is what anybody can write into a certificate."""
    assert not believed((VERIFY, result), (SUBJECT, TRADINGVIEW_SUBJECT))
    assert not believed((SUBJECT, TRADINGVIEW_SUBJECT))


def test_a_verified_certificate_needs_a_subject() -> None:
    """Other clients of the same authority are no senders."""
    assert not believed((VERIFY, "SUCCESS"))
    assert not believed((VERIFY, "SUCCESS"), (SUBJECT, ""))


@pytest.mark.parametrize("twice", [(VERIFY, "SUCCESS"), (SUBJECT, TRADINGVIEW_SUBJECT), (VERIFY, "NONE")])
def test_a_header_sent_twice_is_not_believed(twice: tuple[str, str]) -> None:
    """One of the two may be the client's own."""
    assert not believed((VERIFY, "SUCCESS"), (SUBJECT, TRADINGVIEW_SUBJECT), twice)


@pytest.mark.parametrize(
    "subject",
    [
        r"C=US,ST=Ohio,L=Westerville,O=TradingView\, Inc.,CN=TradingView Webhooks",
        r"emailAddress=webhook-server@tradingview.com," + TRADINGVIEW_SUBJECT,
        r"serialNumber=1," + TRADINGVIEW_SUBJECT,
        r"CN=TradingView Webhooks,O=TradingView\2C Inc.,L=Westerville,ST=Ohio,C=US",
    ],
)
def test_the_order_of_a_subject_and_more_attributes_do_not_matter(subject: str) -> None:
    """Authorities add what they like, and text has more than one form."""
    assert names(subject)


@pytest.mark.parametrize(
    "subject",
    [
        "CN=TradingView Webhooks",
        r"CN=TradingView Webhook,O=TradingView\, Inc.,L=Westerville,ST=Ohio,C=US",
        r"CN=TradingView Webhooks,O=TradingView,L=Westerville,ST=Ohio,C=US",
        r"CN=Mallory,OU=CN\=TradingView Webhooks,O=TradingView\, Inc.,L=Westerville,ST=Ohio,C=US",
        r"CN=Mallory\,CN=TradingView Webhooks,O=TradingView\, Inc.,L=Westerville,ST=Ohio,C=US",
        r"CN=TradingView Webhooks,CN=Mallory,O=TradingView\, Inc.,L=Westerville,ST=Ohio,C=US",
        r"CN=Mallory,CN=TradingView Webhooks,O=TradingView\, Inc.,L=Westerville,ST=Ohio,C=US",
        r"CN=TradingView Webhooks+CN=Mallory,O=TradingView\, Inc.,L=Westerville,ST=Ohio,C=US",
        "/C=US/ST=Ohio/L=Westerville/O=TradingView, Inc./CN=TradingView Webhooks",
        TRADINGVIEW_SUBJECT + ",",
        TRADINGVIEW_SUBJECT + ",nonsense",
        TRADINGVIEW_SUBJECT + ",OU=" + "x" * 100_000,
        "CN=" + "x" * 500,
        "C=USA",
        "CN=\xff\xfe",
        "CN=#zz",
        "9.9=x",
    ],
)
def test_another_subject_is_not_believed(subject: str) -> None:
    """Neither a part of the right one, nor one that only contains it, nor what cannot be read."""
    assert not names(subject)


def test_the_proxy_says_it_in_its_own_way() -> None:
    """Header names, the word for a good certificate and the subject are settings."""
    policy = CertificatePolicy("X-Verify", "X-Subject", "0", "CN=sender")
    assert believed(("X-Verify", "0"), ("X-Subject", "CN=sender,O=any"), policy=policy)
    assert not believed((VERIFY, "SUCCESS"), (SUBJECT, TRADINGVIEW_SUBJECT), policy=policy)


@pytest.mark.parametrize("subject", ["", "TradingView Webhooks", "CN", "nonsense=1"])
def test_a_policy_without_a_subject_is_none(subject: str) -> None:
    """It would believe every certificate of the authority."""
    with pytest.raises(InvalidError) as caught:
        CertificatePolicy(subject=subject)
    assert caught.value.reason == INVALID_SUBJECT
