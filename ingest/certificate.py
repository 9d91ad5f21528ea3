"""Whether a trusted proxy has seen the sender's client certificate."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.x509 import Name, NameOID, ObjectIdentifier
from multidict import MultiMapping

from runtime.errors import InvalidError

INVALID_SUBJECT: Final = "invalid_subject"

TRADINGVIEW_SUBJECT: Final = r"CN=TradingView Webhooks,O=TradingView\, Inc.,L=Westerville,ST=Ohio,C=US"
"""https://www.tradingview.com/support/solutions/43000680459/, read in November 2026."""

_LONGEST_SUBJECT: Final = 1_024
_SUBJECTS_KEPT: Final = 256

# OpenSSL writes these short names in a subject, cryptography knows only those of RFC 4514.
_SHORT_NAMES: Final[dict[str, ObjectIdentifier]] = {
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "organizationIdentifier": NameOID.ORGANIZATION_IDENTIFIER,
    "businessCategory": NameOID.BUSINESS_CATEGORY,
    "postalCode": NameOID.POSTAL_CODE,
    "street": NameOID.STREET_ADDRESS,
    "title": NameOID.TITLE,
    "GN": NameOID.GIVEN_NAME,
    "SN": NameOID.SURNAME,
}


@dataclass(frozen=True, slots=True)
class CertificatePolicy:
    """What a trusted proxy says of a good certificate, and in which headers.

    `subject` is in RFC 4514, as NGINX writes `$ssl_client_s_dn`. Each of its attributes must be in the
    certificate's subject just as often and with just these values; there may be others.
    Raises `InvalidError` for a subject that says nothing.
    """

    verify_header: str = "X-SSL-Client-Verify"
    subject_header: str = "X-SSL-Client-S-DN"
    verified: str = "SUCCESS"
    subject: str = TRADINGVIEW_SUBJECT

    def __post_init__(self) -> None:
        check_subject(self.subject)


def check_subject(subject: str) -> None:
    """Raises `InvalidError` for one that cannot be read or says nothing: it would believe anybody."""
    if not _attributes(subject):
        raise InvalidError(INVALID_SUBJECT, f"not a subject in RFC 4514: {subject!r}")


def certificate_ok(
    policy: CertificatePolicy | None, headers: MultiMapping[str], *, peer_is_trusted: bool
) -> bool:
    """True without a policy, and if a trusted peer says once each: verified, and for this subject.

    `headers` finds names in any case.
    """
    if policy is None:
        return True
    if not peer_is_trusted or _only(headers, policy.verify_header) != policy.verified:
        return False
    found = _attributes(_only(headers, policy.subject_header))
    return all(found.get(name) == values for name, values in _attributes(policy.subject).items())


def _only(headers: MultiMapping[str], name: str) -> str:
    """The header's value; twice is as good as never, for one of them is not the proxy's."""
    values = headers.getall(name, [])
    return values[0].strip() if len(values) == 1 else ""


@lru_cache(maxsize=_SUBJECTS_KEPT)
def _attributes(subject: str) -> dict[ObjectIdentifier, list[str | bytes]]:
    """Values of each attribute of a subject; none if it cannot be read."""
    if len(subject) > _LONGEST_SUBJECT:
        return {}
    try:
        name = Name.from_rfc4514_string(subject, _SHORT_NAMES)
    except ValueError:
        return {}
    values: dict[ObjectIdentifier, list[str | bytes]] = {}
    for attribute in name:
        values.setdefault(attribute.oid, []).append(attribute.value)
    return values
