"""Who may send: addresses, seen through trusted proxies, and the sender's certificate."""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from aiohttp import web

from ingest.certificate import CertificatePolicy, certificate_ok
from ingest.forwarding import client_address
from ingest.refusal import Refusal, unavailable
from ingest.settings import IngestSection
from runtime.addresses import AddressList, parse_list
from runtime.errors import InvalidError
from runtime.logging import get_logger
from schemas.records import Tenant

MAX_REPORTED: Final = 1_024

log = get_logger(__name__)


class InvalidLists:
    """Tenants whose list of addresses is none, each told of once a revision.

    `MAX_REPORTED` tenants at most until the process ends, so that neither memory nor the log can be flooded.
    """

    def __init__(self) -> None:
        self._revisions: dict[UUID, int] = {}

    def report(self, tenant: Tenant, reason: str) -> None:
        known = self._revisions.get(tenant.user_id)
        if known == tenant.revision or (known is None and len(self._revisions) >= MAX_REPORTED):
            return
        self._revisions[tenant.user_id] = tenant.revision
        log.error(
            "tenant_addresses_invalid",
            user_id=str(tenant.user_id),
            revision=tenant.revision,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """`allowed` holds for every tenant, beside the tenant's own list. `certificate` None: none is needed."""

    trusted_proxies: AddressList
    allowed: AddressList
    certificate: CertificatePolicy | None
    invalid_lists: InvalidLists = field(default_factory=InvalidLists)

    def address_of(self, request: web.BaseRequest) -> str:
        """The client's, as far as proxies are trusted to know it."""
        peer = request.remote or ""
        if not self.trusted_proxies:
            return peer
        return client_address(peer, request.headers.getall("X-Forwarded-For", []), self.trusted_proxies)

    def check(self, request: web.BaseRequest, tenant: Tenant) -> None:
        """Raises `Refusal`: 403, or 503 while the tenant's list is none.

        For a right token only: an answer tells that the tenant exists.
        """
        if (self.allowed or tenant.allowed_addresses) and not self._allows(self.address_of(request), tenant):
            raise Refusal(403, "address_not_allowed")
        if self.certificate is not None and not self._certified(self.certificate, request):
            raise Refusal(403, "certificate_required")

    def _allows(self, address: str, tenant: Tenant) -> bool:
        return self.allowed.allows(address) and self._list_of(tenant).allows(address)

    def _list_of(self, tenant: Tenant) -> AddressList:
        try:
            return parse_list(tenant.allowed_addresses)
        except InvalidError as error:
            # Written past us. A 403 would be final for alerts that it may have meant to allow.
            self.invalid_lists.report(tenant, error.reason)
            raise unavailable() from error

    def _certified(self, certificate: CertificatePolicy, request: web.BaseRequest) -> bool:
        peer_is_trusted = self.trusted_proxies.contains(request.remote or "")
        return certificate_ok(certificate, request.headers, peer_is_trusted=peer_is_trusted)


def sender_policy(settings: IngestSection) -> SenderPolicy:
    certificate = CertificatePolicy(
        settings.certificate_verify_header,
        settings.certificate_subject_header,
        subject=settings.certificate_subject,
    )
    return SenderPolicy(
        trusted_proxies=parse_list(settings.entries("trusted_proxies")),
        allowed=parse_list(settings.entries("allowed_addresses")),
        certificate=certificate if settings.certificate_required else None,
    )
